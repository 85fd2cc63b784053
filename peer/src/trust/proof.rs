//! Who a peer is, and which names it may register. Pure: what a connection has
//! proven goes in, an identity and a permission come out.
//!
//! A peer proves itself by its certificate, whose identity is a SPIFFE URI
//! (`spiffe://<trust domain>/peer/<peer_id>`, SPIFFE-ID §2) and whose DNS names
//! are the names that it may register; or by a token, of which only an HMAC
//! bound to the TLS session travels (RFC 5705, RFC 8446 §7.5).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;

use super::identity::{Identity, certificate_identity};
use super::permission::Permission;
use super::token::{TokenRules, data_message, hello_message, idle_message, open_message};
use crate::names::{PeerId, ProxyId};
use crate::wire::{ErrorCode, TokenProof, WireError};

/// Label of the exported key material that tokens are bound to.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ops-proxy-token";

/// What a connection has proven before its first line. Shows no keying material.
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

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(source) => write!(f, "Plaintext({source})"),
            Self::Tls { .. } => f.write_str("Tls(…)"),
        }
    }
}

/// Who is at the other end of a peer connection, and what it may do there.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who it is.
    pub identity: Identity,
    /// Which names it may register and carry requests of.
    pub permission: Permission,
}

/// One text for every cause: a stranger learns nothing from it.
pub const UNAUTHORIZED: WireError =
    WireError { code: ErrorCode::Unauthorized, text: Cow::Borrowed("not authorised") };

/// Who says HELLO.
///
/// # Errors
/// [`UNAUTHORIZED`].
pub fn authenticate(
    proven: &Proven,
    rules: &TokenRules,
    peer: &PeerId,
    proof: Option<&TokenProof>,
) -> Result<Principal, WireError> {
    match proof {
        Some(proof) => by_token(proven, rules, peer, proof, &hello_message(peer)),
        None => by_connection(proven, Some(peer)),
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
) -> Result<Principal, WireError> {
    by_token_or_connection(proven, rules, token, |peer| data_message(id, peer))
}

/// Who asks to reach a name through this peer.
///
/// # Errors
/// [`UNAUTHORIZED`].
pub fn identify_open(
    proven: &Proven,
    rules: &TokenRules,
    id: ProxyId,
    token: Option<&(PeerId, TokenProof)>,
) -> Result<Principal, WireError> {
    by_token_or_connection(proven, rules, token, |peer| open_message(id, peer))
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
) -> Result<Principal, WireError> {
    match proof {
        Some(proof) => by_token(proven, rules, peer, proof, &idle_message(peer)),
        None => by_connection(proven, Some(peer)),
    }
}

/// By a token where one is shown, and else by the connection, whoever's it is.
fn by_token_or_connection(
    proven: &Proven,
    rules: &TokenRules,
    token: Option<&(PeerId, TokenProof)>,
    message: impl Fn(&PeerId) -> String,
) -> Result<Principal, WireError> {
    match token {
        Some((peer, proof)) => by_token(proven, rules, peer, proof, &message(peer)),
        None => by_connection(proven, None),
    }
}

/// By a token, which is shown inside TLS only.
fn by_token(
    proven: &Proven,
    rules: &TokenRules,
    peer: &PeerId,
    proof: &TokenProof,
    message: &str,
) -> Result<Principal, WireError> {
    let Proven::Tls { exporter, .. } = proven else { return Err(UNAUTHORIZED) };
    let rule = rules.matching(exporter, message, peer, proof).ok_or(UNAUTHORIZED)?;
    Ok(Principal {
        identity: Identity::Token { rule: rule.id().clone(), peer: peer.clone() },
        permission: Permission::Rule(rule.clone()),
    })
}

/// By a certificate, which must be that of `peer`, or in clear text by the source.
fn by_connection(proven: &Proven, peer: Option<&PeerId>) -> Result<Principal, WireError> {
    match proven {
        Proven::Plaintext(source) => {
            Ok(Principal { identity: Identity::Plaintext(*source), permission: Permission::Any })
        }
        Proven::Tls { certificate, .. } => {
            let certificate = certificate.as_ref().ok_or(UNAUTHORIZED)?;
            let identity = certificate_identity(certificate).ok_or(UNAUTHORIZED)?;
            let is_own = |wanted: &PeerId| matches!(&identity, Identity::Certificate { peer, .. } if peer.covers(wanted));
            if !peer.is_none_or(is_own) {
                return Err(UNAUTHORIZED);
            }
            Ok(Principal { identity, permission: Permission::Certificate(certificate.clone()) })
        }
    }
}
