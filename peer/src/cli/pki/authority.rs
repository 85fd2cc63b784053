//! A CA and what it signs. Reads the files of the CA, and writes none.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::issued::{Issued, Pair};
use super::subject::{Subject, TrustDomain};
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::limits::{CERTIFICATE_BACKDATE, DAY};
use crate::names::{NamePattern, PeerId};
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;
use crate::trust::REACH_OID;

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`).
const COMMON_NAME_BYTES: usize = 64;

/// A CA that can sign. Has no `Debug`, so that no key is printed.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its subject, in DER: the issuer of everything it signs.
    subject: Vec<u8>,
    trust_domain: TrustDomain,
    /// The end of its validity, in seconds since the Unix epoch.
    not_after: i64,
    /// The same day, for people.
    until: String,
}

/// The certificate that a peer is to get.
pub(super) struct PeerRequest<'a> {
    pub(super) peer: &'a PeerId,
    pub(super) names: &'a [Subject],
    /// What it may reach through listening peers.
    pub(super) reach: &'a [NamePattern],
    pub(super) days: u64,
}

impl Authority {
    /// Makes a CA.
    pub(super) fn create(trust_domain: &TrustDomain, days: u64) -> Result<Issued, Failure> {
        let mut params = params(&format!("Ops Proxy CA of {trust_domain}"), days);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The id of the trust domain itself (SPIFFE X.509-SVID §3.2).
        params.subject_alt_names = vec![uri(format!("spiffe://{trust_domain}"))?];
        let key = new_key()?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(issued(&params, certificate.pem(), &key))
    }

    /// Reads a CA that [`create`](Self::create) made.
    pub(super) fn load(files: &Pair) -> Result<Self, Failure> {
        let certificate = read_certificate(&files.certificate)?;
        let key = read_pem(&files.key)?;
        let bad = |what: &str| problem(&files.certificate, what);
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| bad(NO_CERTIFICATE))?;
        let trust_domain = trust_domain(&parsed).ok_or_else(|| bad(NO_TRUST_DOMAIN))?;
        let not_after = parsed.validity().not_after;
        let until = not_after.to_datetime().date().to_string();
        let not_after = not_after.timestamp();
        let subject = parsed.subject().as_raw().to_vec();
        // The error's own text could quote the file.
        let key = KeyPair::from_pem(&key)
            .map_err(|_| problem(&files.key, "does not contain a private key in PEM"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(bad(&format!("does not match the key in {}", files.key.display())));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(failed)?;
        Ok(Self { issuer, subject, trust_domain, not_after, until })
    }

    /// The trust domain of a CA, read from its certificate alone.
    pub(super) fn trust_domain_of(files: &Pair) -> Result<TrustDomain, Failure> {
        let bad = |what: &str| problem(&files.certificate, what);
        let certificate = read_certificate(&files.certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| bad(NO_CERTIFICATE))?;
        trust_domain(&parsed).ok_or_else(|| bad(NO_TRUST_DOMAIN))
    }

    /// What signs with its key.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// The end of its validity, since the Unix epoch.
    pub(super) fn ends(&self) -> Duration {
        Duration::new(u64::try_from(self.not_after).unwrap_or_default(), 0)
    }

    /// Whether this CA signed the certificate. Its name alone does not tell: a CA that
    /// replaces another may have the same one.
    pub(super) fn has_signed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        parsed.issuer().as_raw() == self.subject
            && self.made(&parsed.signature_value.data, parsed.tbs_certificate.as_ref())
    }

    /// As [`has_signed`](Self::has_signed), for a revocation list.
    pub(super) fn has_signed_list(&self, list: &CertificateRevocationList<'_>) -> bool {
        list.issuer().as_raw() == self.subject
            && self.made(&list.signature_value.data, list.tbs_cert_list.as_ref())
    }

    /// Whether `signature` is that of its key, by any algorithm that TLS knows.
    fn made(&self, signature: &[u8], message: &[u8]) -> bool {
        let key = self.issuer.key().public_key_raw();
        let algorithms = TokioNet.crypto_provider().signature_verification_algorithms.all;
        algorithms
            .iter()
            .any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
    }

    /// Signs the certificate of a peer: for both ends of TLS, for its names, with
    /// its identity.
    pub(super) fn issue(&self, request: &PeerRequest<'_>) -> Result<Issued, Failure> {
        let mut params = params(request.peer.as_str(), request.days);
        if params.not_after.unix_timestamp() > self.not_after {
            let problem = format!("the CA expires on {}; choose fewer days", self.until);
            return Err(ConfigError::new("days", problem).into());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names =
            vec![uri(format!("spiffe://{}/peer/{}", self.trust_domain, request.peer))?];
        for name in request.names {
            params.subject_alt_names.push(match name {
                Subject::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
                Subject::Address(address) => SanType::IpAddress(*address),
            });
        }
        for pattern in request.reach {
            let other_name = (REACH_OID.to_vec(), pattern.to_string().into());
            params.subject_alt_names.push(SanType::OtherName(other_name));
        }
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(issued(&params, certificate.pem(), &key))
    }
}

/// What all certificates have: a subject, a random serial number, and a validity that
/// begins a little early.
fn params(common_name: &str, days: u64) -> CertificateParams {
    let now = date_time_ymd(1970, 1, 1) + TokioNet.unix_time();
    let mut params = CertificateParams::default();
    params.not_before = now - CERTIFICATE_BACKDATE;
    params.not_after = now + DAY * u32::try_from(days).expect("the flag's range is smaller");
    params.distinguished_name = DistinguishedName::new();
    let common_name: String = common_name.chars().take(COMMON_NAME_BYTES).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = [0; 16];
    TokioNet.fill_random(&mut serial);
    // Positive, and of full length (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn issued(params: &CertificateParams, certificate: String, key: &KeyPair) -> Issued {
    Issued { certificate, key: key.serialize_pem(), until: params.not_after.date().to_string() }
}

fn new_key() -> Result<KeyPair, Failure> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)
}

fn uri(text: String) -> Result<SanType, Failure> {
    text.try_into().map(SanType::URI).map_err(failed)
}

/// An error of rcgen.
pub(super) fn failed(error: rcgen::Error) -> Failure {
    Failure::Pki(error.to_string())
}

const NO_CERTIFICATE: &str = "does not contain a certificate in PEM";
const NO_TRUST_DOMAIN: &str =
    "has no trust domain: a CA of `ops-proxy pki` has the URI spiffe://NAME in its certificate";

/// What is wrong with a file.
pub(super) fn problem(path: &Path, what: &str) -> Failure {
    Failure::Pki(format!("{}: {what}", path.display()))
}

fn read_pem(path: &Path) -> Result<String, Failure> {
    let contents = TokioNet
        .read_file(path)
        .map_err(|error| problem(path, &format!("{error}; `ops-proxy pki init` creates a CA")))?;
    String::from_utf8(contents).map_err(|_| problem(path, "is not a PEM file"))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, Failure> {
    let pem = read_pem(path)?;
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| problem(path, NO_CERTIFICATE))
}

/// The trust domain in the certificate of a CA.
fn trust_domain(certificate: &X509Certificate<'_>) -> Option<TrustDomain> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://")?.parse().ok(),
        _ => None,
    })
}
