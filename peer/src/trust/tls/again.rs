//! What was let in before, judged again: certificates expire and are revoked, and tokens
//! are taken away or changed, while links and idle DATA connections live on.
//!
//! A link outlives the expiry and the rotation of its certificate, so that a rotation cuts
//! nobody off, but neither a revocation nor the loss of its token. An idle DATA connection
//! is closed as soon as its handshake would fail now: the next one is a new handshake.

use std::collections::BTreeMap;

use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls;

use super::load::Loaded;
use crate::names::PeerId;
use crate::trust::permission::Permission;

/// What is to become of something that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It would be let in now.
    Good,
    /// It would not be let in now; what stands may stand.
    Outdated,
    /// Its certificate is revoked, or its token is gone or not what it was.
    Revoked,
}

impl From<Result<(), rustls::Error>> for Verdict {
    fn from(verified: Result<(), rustls::Error>) -> Self {
        match verified {
            Ok(()) => Self::Good,
            Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Self::Revoked,
            Err(_) => Self::Outdated,
        }
    }
}

impl Loaded {
    /// Looks again at the certificate of a connecting peer.
    pub fn judge_client(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let (Some((own, others)), Some(verifier)) = (chain.split_first(), &self.client_verifier)
        else {
            return Verdict::Outdated;
        };
        verifier.verify_client_cert(own, others, now).map(drop).into()
    }

    /// Looks again at the certificate that a listening peer showed as `host`.
    pub fn judge_server(
        &self,
        chain: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        let (Some((own, others)), Some(verifier)) = (chain.split_first(), &self.server_verifier)
        else {
            return Verdict::Outdated;
        };
        verifier.verify_server_cert(own, others, host, &[], now).map(drop).into()
    }
}

/// One look at what a connecting peer showed on its connections. They mostly show the same
/// certificate, which is verified once.
pub struct Look<'a> {
    loaded: &'a Loaded,
    peer: &'a PeerId,
    now: UnixTime,
    verdicts: BTreeMap<Vec<u8>, Verdict>,
}

impl<'a> Look<'a> {
    /// With what is loaded now, at the connections of `peer`.
    pub fn new(loaded: &'a Loaded, peer: &'a PeerId, now: UnixTime) -> Self {
        Self { loaded, peer, now, verdicts: BTreeMap::new() }
    }

    /// Judges a connection by what let it in and by the certificates that it showed.
    pub fn judge(&mut self, let_in: &Permission, chain: &[CertificateDer<'_>]) -> Verdict {
        let of_certificate = chain.first().map(|own| {
            let judged = self.verdicts.entry(own.to_vec());
            *judged.or_insert_with(|| self.loaded.judge_client(chain, self.now))
        });
        match let_in {
            Permission::Any => Verdict::Good,
            Permission::Certificate(_) => of_certificate.unwrap_or(Verdict::Outdated),
            Permission::Rule(rule) if !self.loaded.rules.still_let_in(rule, self.peer) => {
                Verdict::Revoked
            }
            Permission::Rule(_) => match of_certificate {
                // A certificate that came with the token is not what lets it in.
                Some(Verdict::Revoked) => Verdict::Revoked,
                _ => Verdict::Good,
            },
        }
    }
}
