//! `ops-proxy pki revoke`: the revocation list of a CA (RFC 5280 §5), each time
//! signed anew with all that it held before.

use std::path::Path;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio_rustls::rustls;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::authority::{Authority, failed};
use crate::cli::failure::Failure;
use crate::names::PeerId;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;
use crate::trust::{Identity, certificate_identity};

/// What a CA has revoked so far.
pub(super) struct Revocations {
    revoked: Vec<RevokedCertParams>,
    /// Grows with each list (RFC 5280 §5.2.3).
    number: Vec<u8>,
}

impl Revocations {
    /// Nothing, in a list that was never written.
    pub(super) fn none() -> Self {
        Self { revoked: Vec::new(), number: vec![1] }
    }

    /// What the list at `path` holds, as the successor of that list.
    pub(super) fn load(path: &Path, authority: &Authority) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::Pki(format!("{}: {what}", path.display()));
        let pem = TokioNet.read_file(path).map_err(|error| bad(&error.to_string()))?;
        let list = CertificateRevocationListDer::from_pem_slice(&pem)
            .map_err(|_| bad("holds no revocation list"))?;
        let (_, list) = CertificateRevocationList::from_der(&list)
            .map_err(|_| bad("holds no revocation list"))?;
        if list.issuer().as_raw() != authority.subject() {
            return Err(bad("is the list of another CA"));
        }
        let number = list.crl_number().ok_or_else(|| bad("has no number"))?;
        let revoked = list.iter_revoked_certificates().map(|one| RevokedCertParams {
            serial_number: one.serial().to_bytes_be().into(),
            revocation_time: one.revocation_date.to_datetime(),
            reason_code: None,
            invalidity_date: None,
        });
        Ok(Self { revoked: revoked.collect(), number: (number + 1_u32).to_bytes_be() })
    }

    /// Adds the certificate of `peer` at `path`; one that is listed already stays
    /// with its time.
    pub(super) fn add(
        &mut self,
        peer: &PeerId,
        path: &Path,
        authority: &Authority,
    ) -> Result<(), Failure> {
        let bad = |what: &str| Failure::Pki(format!("{}: {what}", path.display()));
        let pem = TokioNet.read_file(path).map_err(|error| bad(&error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|_| bad("holds no certificate"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| bad("holds no certificate"))?;
        if parsed.issuer().as_raw() != authority.subject() {
            return Err(bad("is a certificate of another CA"));
        }
        match certificate_identity(&certificate) {
            Some(Identity::Certificate { peer: named, .. }) if named == *peer => {}
            _ => return Err(bad(&format!("is not the certificate of {peer}"))),
        }
        let serial_number = SerialNumber::from(parsed.serial.to_bytes_be());
        if self.revoked.iter().all(|one| one.serial_number != serial_number) {
            let revocation_time = date_time_ymd(1970, 1, 1) + TokioNet.unix_time();
            self.revoked.push(RevokedCertParams {
                serial_number,
                revocation_time,
                reason_code: None,
                invalidity_date: None,
            });
        }
        Ok(())
    }

    /// So many certificates are revoked.
    pub(super) fn count(&self) -> usize {
        self.revoked.len()
    }

    /// The list in PEM, signed now; it lasts as long as the CA.
    pub(super) fn signed(self, authority: &Authority) -> Result<String, Failure> {
        let epoch = date_time_ymd(1970, 1, 1);
        let list = CertificateRevocationListParams {
            this_update: epoch + TokioNet.unix_time(),
            next_update: epoch + authority.ends(),
            crl_number: self.number.into(),
            issuing_distribution_point: None,
            revoked_certs: self.revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(authority.issuer()).and_then(|list| list.pem()).map_err(failed)
    }
}
