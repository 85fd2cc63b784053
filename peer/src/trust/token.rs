//! Tokens: shared secrets, of which only an HMAC bound to a TLS session travels, and the
//! rules of a listening peer that say what each allows.

use std::fmt;

use ring::hmac;
use serde::Deserialize;

use crate::limits::TOKEN_BYTES_MIN;
use crate::names::{Name, PeerId, ProxyId};
use crate::wire::TokenProof;

/// A shared secret of at least [`TOKEN_BYTES_MIN`] bytes. Shows itself nowhere.
#[derive(Clone)]
pub struct Token(hmac::Key);

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token needs at least {TOKEN_BYTES_MIN} bytes; try `openssl rand -hex 32`")]
pub struct BadToken;

impl Token {
    /// A token of these bytes; white space around them does not count.
    ///
    /// # Errors
    /// [`BadToken`] when they are too few.
    pub fn new(bytes: &[u8]) -> Result<Self, BadToken> {
        let secret = bytes.trim_ascii();
        if secret.len() < TOKEN_BYTES_MIN {
            return Err(BadToken);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// What HELLO shows for `peer` in the session of `exporter`.
    pub fn hello_proof(&self, exporter: &[u8; 32], peer: &PeerId) -> TokenProof {
        self.proof(exporter, &hello_message(peer))
    }

    /// What DATA shows for `peer` and `id` in the session of `exporter`.
    pub fn data_proof(&self, exporter: &[u8; 32], id: ProxyId, peer: &PeerId) -> TokenProof {
        self.proof(exporter, &data_message(id, peer))
    }

    /// What an idle DATA connection of `peer` shows in the session of `exporter`.
    pub fn idle_proof(&self, exporter: &[u8; 32], peer: &PeerId) -> TokenProof {
        self.proof(exporter, &idle_message(peer))
    }

    fn proof(&self, exporter: &[u8; 32], message: &str) -> TokenProof {
        let tag = hmac::sign(&self.0, &bound(exporter, message));
        TokenProof::new(tag.as_ref().try_into().expect("an HMAC-SHA256 tag is 32 bytes"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

pub(super) fn hello_message(peer: &PeerId) -> String {
    format!("HELLO:{peer}")
}

pub(super) fn data_message(id: ProxyId, peer: &PeerId) -> String {
    format!("DATA:{id}:{peer}")
}

pub(super) fn idle_message(peer: &PeerId) -> String {
    format!("DATA:idle:{peer}")
}

fn bound(exporter: &[u8; 32], message: &str) -> Vec<u8> {
    [exporter, message.as_bytes()].concat()
}

/// The tokens that a listening peer accepts, each with what it allows.
#[derive(Debug, Clone, Default)]
pub struct TokenRules(Vec<TokenRule>);

#[derive(Debug, Clone)]
pub(super) struct TokenRule {
    token: Token,
    peer: Option<PeerId>,
    pub(super) names: Option<Vec<Name>>,
}

/// As the rules stand in their file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    token: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    secret: String,
    peer: Option<String>,
    names: Option<Vec<String>>,
}

impl TokenRules {
    /// Reads the TOML of a rules file: `[[token]]` tables with `secret`, and
    /// optionally `peer`, the one peer id that may use it, and `names`, the
    /// names (wildcards included) that it may register.
    ///
    /// # Errors
    /// What is wrong, with no part of a secret in it.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        // The error's own display quotes the line, which may hold a secret.
        let file: RulesFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("line {line}: expected [[token]] tables with secret, peer and names")
        })?;
        let rules = file.token.into_iter().enumerate().map(|(index, entry)| {
            let at = |problem: String| format!("token {}: {problem}", index + 1);
            let names = entry.names.map(|names| {
                names.iter().map(|name| Name::registered(name)).collect::<Result<Vec<_>, _>>()
            });
            Ok(TokenRule {
                token: Token::new(entry.secret.as_bytes())
                    .map_err(|error| at(error.to_string()))?,
                peer: match entry.peer {
                    Some(peer) => Some(peer.parse().map_err(|_| at("invalid peer id".into()))?),
                    None => None,
                },
                names: names.transpose().map_err(|error| at(format!("names: {error}")))?,
            })
        });
        rules.collect::<Result<_, String>>().map(Self)
    }

    /// The rule whose token made `proof`. Each comparison takes constant time. A
    /// peer id that has a token of its own is out of reach for shared ones.
    pub(super) fn matching(
        &self,
        exporter: &[u8; 32],
        message: &str,
        peer: &PeerId,
        proof: &TokenProof,
    ) -> Option<&TokenRule> {
        let bound = bound(exporter, message);
        let is_own = |rule: &TokenRule| rule.peer.as_ref() == Some(peer);
        let reserved = self.0.iter().any(is_own);
        self.0.iter().find(|rule| {
            let covers = is_own(rule) || (rule.peer.is_none() && !reserved);
            covers && hmac::verify(&rule.token.0, &bound, proof.as_bytes()).is_ok()
        })
    }
}
