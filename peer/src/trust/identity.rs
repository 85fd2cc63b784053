//! Who a peer is, by what it has proven.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token::RuleId;
use crate::names::PeerId;

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
    /// A token was shown, under this peer id.
    Token {
        /// The rule that the token belongs to: another rule under the same peer id is
        /// another identity.
        rule: RuleId,
        /// What the peer calls itself.
        peer: PeerId,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(ip) => write!(f, "{ip}"),
            Self::Certificate { trust_domain, peer } => {
                write!(f, "peer {peer} of {trust_domain}")
            }
            Self::Token { rule, peer } => write!(f, "peer {peer} (token: {rule})"),
        }
    }
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
            Identity::Certificate { .. } | Identity::Token { .. } => Some(identity.clone()),
        };
        Self { peer, proven }
    }

    /// The first of all owners with this peer id, in their order.
    pub fn first_with_id(&self) -> Self {
        Self { peer: self.peer.clone(), proven: None }
    }

    /// What it calls itself.
    pub fn peer(&self) -> &PeerId {
        &self.peer
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
    // A certificate is for all instances of a peer.
    let peer = peer.parse().ok().filter(|peer: &PeerId| peer.instance().is_none())?;
    Some(Identity::Certificate { trust_domain: trust_domain.to_owned(), peer })
}

/// When a certificate ends to be valid, in seconds since the Unix epoch.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
