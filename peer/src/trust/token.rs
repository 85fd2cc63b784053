//! Tokens: shared secrets, of which only an HMAC bound to a TLS session travels, and the
//! rules of a listening peer that say what each allows.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use serde::Deserialize;

use crate::limits::TOKEN_BYTES_MIN;
use crate::names::{Name, NamePattern, PeerId, ProxyId};
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

    /// What OPEN shows for `peer` and `id` in the session of `exporter`.
    pub fn open_proof(&self, exporter: &[u8; 32], id: ProxyId, peer: &PeerId) -> TokenProof {
        self.proof(exporter, &open_message(id, peer))
    }

    /// Whether both hold the same secret.
    fn is_same(&self, other: &Self) -> bool {
        const MESSAGE: &[u8] = b"same";
        let tag = hmac::sign(&self.0, MESSAGE);
        hmac::verify(&other.0, MESSAGE, tag.as_ref()).is_ok()
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

pub(super) fn open_message(id: ProxyId, peer: &PeerId) -> String {
    format!("OPEN:{id}:{peer}")
}

pub(super) fn idle_message(peer: &PeerId) -> String {
    format!("DATA:idle:{peer}")
}

fn bound(exporter: &[u8; 32], message: &str) -> Vec<u8> {
    [exporter, message.as_bytes()].concat()
}

/// The tokens that a listening peer accepts, each with what it allows. Shows none.
#[derive(Clone, Default)]
pub struct TokenRules(Vec<Arc<TokenRule>>);

/// One token and what it allows.
pub struct TokenRule {
    id: RuleId,
    token: Token,
    peer: Option<PeerId>,
    names: Option<Vec<Name>>,
    reach: Vec<NamePattern>,
}

/// What tells one rule from another, whatever its secret: its name, or else the peer and
/// the names that it is for. Two peers with different rules are never one, even under the
/// same peer id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(Arc<str>);

impl RuleId {
    fn new(name: Option<&str>, peer: Option<&PeerId>, names: Option<&[Name]>) -> Self {
        if let Some(name) = name {
            return Self(format!("name {name}").into());
        }
        let peer = peer.map_or("any", PeerId::as_str);
        let names = names.map(|names| {
            let mut names: Vec<&str> = names.iter().map(Name::as_str).collect();
            names.sort_unstable();
            names.join(",")
        });
        Self(format!("peer {peer}, names {}", names.as_deref().unwrap_or("any")).into())
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRule({})", self.id)
    }
}

impl TokenRule {
    /// What tells this rule from others.
    pub fn id(&self) -> &RuleId {
        &self.id
    }

    /// The names that it may register; `None` for all.
    pub fn names(&self) -> Option<&[Name]> {
        self.names.as_deref()
    }

    /// The names that it may reach through the listening peer.
    pub fn reach(&self) -> &[NamePattern] {
        &self.reach
    }

    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.peer == other.peer
            && self.names == other.names
            && self.reach == other.reach
            && self.token.is_same(&other.token)
    }
}

/// As the rules stand in their file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    /// None at all takes every token away.
    #[serde(default)]
    token: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    name: Option<String>,
    secret: String,
    peer: Option<String>,
    names: Option<Vec<String>>,
    #[serde(default)]
    reach: Vec<String>,
}

impl fmt::Debug for TokenRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRules({})", self.0.len())
    }
}

impl TokenRules {
    /// Reads the TOML of a rules file: `[[token]]` tables with `secret`, and
    /// optionally `name`, what the rule is called, `peer`, the one peer id that may
    /// use it, `names`, the names (wildcards included) that it may register, and
    /// `reach`, the names (wildcards, or `*` for all) that it may reach through this
    /// peer: none, if it is not there. A file without tables accepts no token.
    ///
    /// # Errors
    /// What is wrong, with no part of a secret in it.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        // The error's own display quotes the line, which may hold a secret.
        let file: RulesFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!(
                "line {line}: expected [[token]] tables with secret, name, peer, names and reach"
            )
        })?;
        let rules = file.token.into_iter().enumerate().map(|(index, entry)| {
            let at = |problem: String| format!("token {}: {problem}", index + 1);
            let names = entry.names.map(|names| {
                names.iter().map(|name| Name::registered(name)).collect::<Result<Vec<_>, _>>()
            });
            let token = Token::new(entry.secret.as_bytes());
            let token = token.map_err(|error| at(error.to_string()))?;
            let peer: Option<PeerId> = match entry.peer {
                Some(peer) => Some(peer.parse().map_err(|_| at("peer is not a peer id".into()))?),
                None => None,
            };
            let names = names.transpose().map_err(|error| at(format!("names: {error}")))?;
            let reach = entry.reach.iter().map(|pattern| pattern.parse());
            let reach: Result<Vec<NamePattern>, _> = reach.collect();
            let reach = reach.map_err(|error| at(format!("reach: {error}")))?;
            let id = RuleId::new(entry.name.as_deref(), peer.as_ref(), names.as_deref());
            Ok(Arc::new(TokenRule { id, token, peer, names, reach }))
        });
        rules.collect::<Result<_, String>>().map(Self)
    }

    /// The rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = Arc<TokenRule>> {
        self.0.iter().cloned()
    }

    /// What tells the rules from each other, in their order.
    pub fn ids(&self) -> impl Iterator<Item = &RuleId> {
        self.0.iter().map(|rule| rule.id())
    }

    /// The rule whose token made `proof`. Each comparison takes constant time. A
    /// peer id that has a token of its own is out of reach for shared ones.
    pub(super) fn matching(
        &self,
        exporter: &[u8; 32],
        message: &str,
        peer: &PeerId,
        proof: &TokenProof,
    ) -> Option<&Arc<TokenRule>> {
        let bound = bound(exporter, message);
        let verifies =
            |rule: &TokenRule| hmac::verify(&rule.token.0, &bound, proof.as_bytes()).is_ok();
        self.0.iter().find(|rule| self.covers(rule, peer) && verifies(rule))
    }

    /// Whether `rule` lets in `peer`: not under an id that another rule is for.
    fn covers(&self, rule: &TokenRule, peer: &PeerId) -> bool {
        let is_own = |rule: &TokenRule| rule.peer.as_ref().is_some_and(|own| own.covers(peer));
        is_own(rule) || (rule.peer.is_none() && !self.0.iter().any(|one| is_own(one)))
    }

    /// Whether a peer that `rule` let in would be let in by it now: it is still here, the
    /// same in everything, and no other rule is for this peer id.
    pub fn still_let_in(&self, rule: &TokenRule, peer: &PeerId) -> bool {
        self.0.iter().any(|now| now.is_same(rule)) && self.covers(rule, peer)
    }
}
