//! The certificates of a scenario: CAs, what they sign, and what they revoke.
//!
//! All of it follows from the names in the scenario: keys are Ed25519, made of
//! the hash of a name, and so is every serial number.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls;

use crate::scenario::{CertificateSpec, Moment, RevocationSpec, Scenario, Usage};
use ops_proxy::trust::REACH_OID;

/// What comes before the 32 bytes of a private key (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

/// Revocation lists are good for so long before and after the start.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A certificate and its key, PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Everything that the CAs of a scenario have made, by the names that it has there.
#[derive(Debug, Default)]
pub struct Certificates {
    /// The CAs' own certificates, PEM.
    pub cas: BTreeMap<String, String>,
    /// What they signed.
    pub issued: BTreeMap<String, Issued>,
    /// The revocation lists, PEM.
    pub revocations: BTreeMap<String, String>,
}

impl Certificates {
    /// Makes what the scenario asks for, for a run that starts at `start` after the Unix epoch.
    ///
    /// # Errors
    /// What could not be put into a certificate.
    pub fn make(scenario: &Scenario, start: Duration) -> Result<Self, rcgen::Error> {
        let mut made = Self::default();
        let mut issuers = BTreeMap::new();
        for ca in &scenario.cas {
            let (params, key) = (authority(ca, start), key(&format!("CA {ca}"))?);
            made.cas.insert(ca.clone(), params.self_signed(&key)?.pem());
            issuers.insert(ca.as_str(), Issuer::new(params, key));
        }
        for (name, spec) in &scenario.certificates {
            let Some(ca) = scenario.ca_of(spec.ca.as_deref()) else { continue };
            let key = key(name)?;
            let certificate = params(name, spec, start)?.signed_by(&key, &issuers[ca])?;
            let issued = Issued { certificate: certificate.pem(), key: key.serialize_pem() };
            made.issued.insert(name.clone(), issued);
        }
        for (name, spec) in &scenario.revocations {
            let Some(ca) = scenario.ca_of(spec.ca.as_deref()) else { continue };
            let list = revocation_list(name, spec, start).signed_by(&issuers[ca])?;
            made.revocations.insert(name.clone(), list.pem()?);
        }
        Ok(made)
    }
}

fn authority(ca: &str, start: Duration) -> CertificateParams {
    let mut params = common(&format!("CA {ca}"), -Moment::LONG, Moment::LONG, start);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(
    name: &str,
    spec: &CertificateSpec,
    start: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = common(name, spec.not_before, spec.not_after, start);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let usages = spec.usage.iter().map(|usage| match usage {
        Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
    });
    params.extended_key_usages = usages.collect();
    let peer = spec.peer.as_deref().unwrap_or(name);
    let domain = spec.trust_domain.as_deref().unwrap_or("mesh");
    let identity = format!("spiffe://{domain}/peer/{peer}");
    params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    for name in &spec.names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    for pattern in &spec.reach {
        let other_name = (REACH_OID.to_vec(), pattern.as_str().into());
        params.subject_alt_names.push(SanType::OtherName(other_name));
    }
    Ok(params)
}

fn common(name: &str, not_before: Moment, not_after: Moment, start: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial(name));
    let start = date_time_ymd(1970, 1, 1) + start;
    params.not_before = not_before.counted_from(start);
    params.not_after = not_after.counted_from(start);
    params
}

fn revocation_list(
    name: &str,
    spec: &RevocationSpec,
    start: Duration,
) -> CertificateRevocationListParams {
    let start = date_time_ymd(1970, 1, 1) + start;
    let revoked = spec.certificates.iter().map(|certificate| RevokedCertParams {
        serial_number: serial(certificate),
        revocation_time: start,
        reason_code: None,
        invalidity_date: None,
    });
    CertificateRevocationListParams {
        this_update: start - LONG,
        next_update: start + LONG,
        crl_number: serial(name),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn key(name: &str) -> Result<KeyPair, rcgen::Error> {
    let der = [&PKCS8_PREFIX[..], digest(&SHA256, name.as_bytes()).as_ref()].concat();
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)
}

/// Positive, and of full length (RFC 5280 §4.1.2.2).
fn serial(name: &str) -> SerialNumber {
    let mut bytes = digest(&SHA256, name.as_bytes()).as_ref()[..16].to_vec();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from(bytes)
}
