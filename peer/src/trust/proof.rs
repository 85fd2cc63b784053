//! Who a peer is, and which names it may register. Pure: what a connection has
//! proven goes in, an identity and a permission come out.
//!
//! A peer proves itself by its certificate, whose identity is a SPIFFE URI
//! (`spiffe://<trust domain>/peer/<peer_id>`, SPIFFE-ID §2) and whose DNS names
//! are the names that it may register; or by a token, of which only an HMAC
//! bound to the TLS session travels (RFC 5705, RFC 8446 §7.5).

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;

use super::identity::{Identity, certificate_identity};
use super::permission::Permission;
use super::token::{TokenRules, data_message, hello_message, idle_message};
use crate::names::{PeerId, ProxyId};
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
