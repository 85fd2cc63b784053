//! Who a peer is, and which names it may register. Pure: what a connection has
//! proven goes in, an identity and a permission come out.
//!
//! A peer proves itself by its certificate, whose identity is a SPIFFE URI
//! (`spiffe://<trust domain>/peer/<peer_id>`, SPIFFE-ID §2) and whose DNS names
//! are the names that it may register; or by a token, of which only an HMAC
//! bound to the TLS session travels (RFC 5705, RFC 8446 §7.5).

use std::fmt;
use std::net::IpAddr;

use ring::hmac;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use serde::Deserialize;
use tokio_rustls::rustls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::TOKEN_BYTES_MIN;
use crate::names::{Name, PeerId, ProxyId};
use crate::wire::{ErrorCode, TokenProof, WireError};

/// Label of the exported key material that tokens are bound to.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ops-proxy-token";

/// What a connection has proven before its first line.
#[derive(Debug)]
pub enum Proven {
    /// Nothing but where it comes from.
    Plaintext(IpAddr),
    /// A TLS 1.3 session, and the certificate that it verified, if any.
    Tls {
        /// Verified against the CA.
        certificate: Option<CertificateDer<'static>>,
        /// Keying material of this session alone.
        exporter: [u8; 32],
    },
}

/// Who is at the other end of a peer connection. A DATA connection must show the
/// identity of the link that got the FORWARD.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A plaintext peer proves nothing but where it comes from.
    Plaintext(IpAddr),
    /// The SPIFFE identity of a verified certificate.
    Certificate {
        /// The trust domain of the URI.
        trust_domain: String,
        /// The peer id at its end.
        peer: PeerId,
    },
    /// The peer that a token was shown for.
    Token(PeerId),
}

/// Whose a link is. A new link replaces the old one of the same owner, and no
/// other: a peer id alone, which anyone can say, cuts nobody off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    peer: PeerId,
    /// `None` in plaintext, where a peer may come back from another address.
    proven: Option<Identity>,
}

impl Owner {
    /// Who showed this identity and says that it is `peer`.
    pub fn new(peer: PeerId, identity: &Identity) -> Self {
        let proven = match identity {
            Identity::Plaintext(_) => None,
            Identity::Certificate { .. } | Identity::Token(_) => Some(identity.clone()),
        };
        Self { peer, proven }
    }

    /// What it calls itself.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }
}

/// Which names a link may register.
#[derive(Debug, Clone)]
pub enum Permission {
    /// All.
    Any,
    /// Those that this certificate is valid for.
    Certificate(CertificateDer<'static>),
    /// These, a wildcard standing for itself and the names it matches.
    Names(Vec<Name>),
}

/// One text for every cause: a stranger learns nothing from it.
pub const UNAUTHORIZED: WireError =
    WireError { code: ErrorCode::Unauthorized, text: "not authorised" };

/// Who says HELLO, and what it may register.
///
/// # Errors
/// [`UNAUTHORIZED`].
pub fn authenticate(
    proven: &Proven,
    rules: &TokenRules,
    peer: &PeerId,
    proof: Option<&TokenProof>,
) -> Result<(Identity, Permission), WireError> {
    match (proven, proof) {
        (Proven::Plaintext(source), None) => Ok((Identity::Plaintext(*source), Permission::Any)),
        (Proven::Tls { certificate: Some(certificate), .. }, None) => {
            let identity = certificate_identity(certificate).ok_or(UNAUTHORIZED)?;
            match &identity {
                Identity::Certificate { peer: own, .. } if own == peer => {
                    Ok((identity, Permission::Certificate(certificate.clone())))
                }
                _ => Err(UNAUTHORIZED),
            }
        }
        (Proven::Tls { exporter, .. }, Some(proof)) => {
            let message = hello_message(peer);
            let rule = rules.matching(exporter, &message, peer, proof).ok_or(UNAUTHORIZED)?;
            let permission = rule.names.clone().map_or(Permission::Any, Permission::Names);
            Ok((Identity::Token(peer.clone()), permission))
        }
        _ => Err(UNAUTHORIZED),
    }
}

/// Who dials a DATA connection.
///
/// # Errors
/// [`UNAUTHORIZED`].
pub fn identify_data(
    proven: &Proven,
    rules: &TokenRules,
    id: ProxyId,
    token: Option<&(PeerId, TokenProof)>,
) -> Result<Identity, WireError> {
    match (proven, token) {
        (Proven::Plaintext(source), None) => Ok(Identity::Plaintext(*source)),
        (Proven::Tls { certificate: Some(certificate), .. }, None) => {
            certificate_identity(certificate).ok_or(UNAUTHORIZED)
        }
        (Proven::Tls { exporter, .. }, Some((peer, proof))) => {
            let message = data_message(id, peer);
            rules.matching(exporter, &message, peer, proof).ok_or(UNAUTHORIZED)?;
            Ok(Identity::Token(peer.clone()))
        }
        _ => Err(UNAUTHORIZED),
    }
}

/// Whose idle DATA connection this is.
///
/// # Errors
/// [`UNAUTHORIZED`].
pub fn identify_idle(
    proven: &Proven,
    rules: &TokenRules,
    peer: &PeerId,
    proof: Option<&TokenProof>,
) -> Result<Identity, WireError> {
    match (proven, proof) {
        (Proven::Tls { exporter, .. }, Some(proof)) => {
            rules.matching(exporter, &idle_message(peer), peer, proof).ok_or(UNAUTHORIZED)?;
            Ok(Identity::Token(peer.clone()))
        }
        _ => authenticate(proven, rules, peer, proof).map(|(identity, _)| identity),
    }
}

/// The one SPIFFE URI of a certificate, if it names a peer.
pub fn certificate_identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    // SPIFFE X.509-SVID §2: exactly one URI.
    let (uri, None) = (uris.next()?, uris.next()) else { return None };
    let (trust_domain, peer) = uri.strip_prefix("spiffe://")?.split_once("/peer/")?;
    if trust_domain.is_empty() || trust_domain.contains('/') {
        return None;
    }
    Some(Identity::Certificate { trust_domain: trust_domain.to_owned(), peer: peer.parse().ok()? })
}

/// When a certificate ends to be valid, in seconds since the Unix epoch.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

impl Permission {
    /// Whether `name` may be registered.
    pub fn permits(&self, name: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Names(patterns) => patterns.iter().any(|pattern| {
                pattern == name || name.wildcard().as_deref() == Some(pattern.as_str())
            }),
            Self::Certificate(certificate) => certificate_permits(certificate, name),
        }
    }
}

fn certificate_permits(certificate: &CertificateDer<'_>, name: &Name) -> bool {
    let text = name.as_str();
    if text.starts_with("*.") {
        return has_dns_name(certificate, text);
    }
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let Ok(subject) = ServerName::try_from(text) else { return false };
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    verify_server_name(&parsed, &subject).is_ok()
}

/// A wildcard may be registered by whose certificate holds that very wildcard.
fn has_dns_name(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(wanted),
        _ => false,
    })
}

/// A shared secret of at least [`TOKEN_BYTES_MIN`] bytes. Shows itself nowhere.
#[derive(Clone)]
pub struct Token(hmac::Key);

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has at least {TOKEN_BYTES_MIN} bytes; `openssl rand -hex 32` makes one")]
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

fn hello_message(peer: &PeerId) -> String {
    format!("HELLO:{peer}")
}

fn data_message(id: ProxyId, peer: &PeerId) -> String {
    format!("DATA:{id}:{peer}")
}

fn idle_message(peer: &PeerId) -> String {
    format!("DATA:idle:{peer}")
}

fn bound(exporter: &[u8; 32], message: &str) -> Vec<u8> {
    [exporter, message.as_bytes()].concat()
}

/// The tokens that a listening peer accepts, each with what it allows.
#[derive(Debug, Clone, Default)]
pub struct TokenRules(Vec<TokenRule>);

#[derive(Debug, Clone)]
struct TokenRule {
    token: Token,
    peer: Option<PeerId>,
    names: Option<Vec<Name>>,
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
            format!("line {line}: not a list of [[token]] tables with secret, peer and names")
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
                    Some(peer) => Some(peer.parse().map_err(|_| at("peer is no peer id".into()))?),
                    None => None,
                },
                names: names.transpose().map_err(|error| at(format!("names: {error}")))?,
            })
        });
        rules.collect::<Result<_, String>>().map(Self)
    }

    /// The rule whose token made `proof`. Each comparison takes constant time. A
    /// peer id that has a token of its own is out of reach for shared ones.
    fn matching(
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

#[cfg(test)]
mod tests;
