//! The revocation list of a CA (RFC 5280 §5), `crl.pem`. Each new list has all the
//! entries of the one before.

use std::path::Path;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, date_time_ymd};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::authority::{Authority, failed, problem};
use super::files::{PkiFiles, exists};
use super::serial::Serial;
use crate::cli::failure::Failure;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// What a CA has revoked so far.
pub(super) struct Revocations {
    revoked: Vec<RevokedCertParams>,
    /// Grows with each list (RFC 5280 §5.2.3).
    number: Vec<u8>,
}

impl Revocations {
    /// Nothing, in a list that was not written yet.
    pub(super) fn none() -> Self {
        Self { revoked: Vec::new(), number: vec![1] }
    }

    /// What the list in the directory says, as the start of the next list; nothing if
    /// there is no list.
    pub(super) fn load(files: &PkiFiles, authority: &Authority) -> Result<Self, Failure> {
        let path = files.of_list();
        if exists(&path) { Self::read(&path, authority) } else { Ok(Self::none()) }
    }

    fn read(path: &Path, authority: &Authority) -> Result<Self, Failure> {
        let bad = |what: &str| problem(path, what);
        let no_list = || bad("does not contain a revocation list in PEM");
        let pem = TokioNet.read_file(path).map_err(|error| bad(&error.to_string()))?;
        let list = CertificateRevocationListDer::from_pem_slice(&pem).map_err(|_| no_list())?;
        let (_, list) = CertificateRevocationList::from_der(&list).map_err(|_| no_list())?;
        if !authority.has_signed_list(&list) {
            return Err(bad("is the list of another CA; move it away"));
        }
        let number = list.crl_number().ok_or_else(|| bad("has no CRL number"))?;
        let revoked = list.iter_revoked_certificates().map(|one| RevokedCertParams {
            serial_number: one.serial().to_bytes_be().into(),
            revocation_time: one.revocation_date.to_datetime(),
            reason_code: None,
            invalidity_date: None,
        });
        Ok(Self { revoked: revoked.collect(), number: (number + 1_u32).to_bytes_be() })
    }

    /// Whether the certificate with this serial number is revoked.
    pub(super) fn contains(&self, serial: &Serial) -> bool {
        self.revoked.iter().any(|one| Serial::from_bytes(one.serial_number.as_ref()) == *serial)
    }

    /// Adds a certificate. One that is in the list already keeps its time.
    pub(super) fn add(&mut self, serial: &Serial) {
        if !self.contains(serial) {
            self.revoked.push(RevokedCertParams {
                serial_number: serial.as_bytes().to_vec().into(),
                revocation_time: date_time_ymd(1970, 1, 1) + TokioNet.unix_time(),
                reason_code: None,
                invalidity_date: None,
            });
        }
    }

    /// How many certificates are revoked.
    pub(super) fn count(&self) -> usize {
        self.revoked.len()
    }

    /// The list in PEM, signed now. It is valid as long as the CA.
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
