//! What was let in before, looked at again: certificates expire and are revoked, and
//! tokens are taken off the list, while links and idle DATA connections live on.
//!
//! A link outlives the rotation of what let it in, so that a rotation cuts nobody off,
//! but not a revocation. An idle DATA connection is let go of as soon as its handshake
//! would fail now: the next one is a new handshake.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls;

use super::load::Loaded;

/// What the other end of a link showed, and what it was judged by last.
#[derive(Debug)]
pub struct Shown {
    /// Its certificate, and those that lead to its CA; none with a token alone.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether a token said who it is.
    pub by_token: bool,
    /// What was loaded when it was let in, or looked at again.
    pub judged_by: Arc<Loaded>,
}

/// What is to become of something that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It would be let in now.
    Good,
    /// It would not be let in now; what stands may stand.
    Outdated,
    /// Its certificate is revoked.
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

/// One look at the idle DATA connections of a link. They mostly show the same
/// certificate, which is verified once.
pub struct Look<'a> {
    loaded: &'a Loaded,
    now: UnixTime,
    /// A token is bound to a handshake and cannot be shown again.
    tokens_stand: bool,
    verdicts: BTreeMap<Vec<u8>, Verdict>,
}

impl<'a> Look<'a> {
    /// With what is loaded now, at a link of which this is known.
    pub fn new(loaded: &'a Arc<Loaded>, shown: &Shown, now: UnixTime) -> Self {
        let tokens_stand = shown.by_token && Arc::ptr_eq(loaded, &shown.judged_by);
        Self { loaded, now, tokens_stand, verdicts: BTreeMap::new() }
    }

    /// Whether a connecting peer that showed this chain would be let in now.
    pub fn is_good(&mut self, by_token: bool, chain: &[CertificateDer<'_>]) -> bool {
        if by_token {
            return self.tokens_stand;
        }
        let Some(own) = chain.first() else { return false };
        let judged = self.verdicts.entry(own.to_vec());
        *judged.or_insert_with(|| self.loaded.judge_client(chain, self.now)) == Verdict::Good
    }
}
