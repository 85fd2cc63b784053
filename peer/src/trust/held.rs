//! What an operator is told of a certificate that this peer holds.

use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that this peer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCertificate {
    /// What it is for: `peer`, `ca` or `public`.
    pub kind: &'static str,
    /// Its subject, or the first of its names where that is empty.
    pub subject: String,
    /// Its DNS names, URIs and addresses.
    pub names: Vec<String>,
    /// When it ends to be valid, in seconds since the Unix epoch.
    pub not_after: Option<i64>,
}

impl HeldCertificate {
    /// What `certificate` says; next to nothing, if it cannot be read.
    pub fn of(kind: &'static str, certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            let subject = "a certificate that cannot be read".to_owned();
            return Self { kind, subject, names: Vec::new(), not_after: None };
        };
        let names = match parsed.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(shown).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let names: Vec<String> = names;
        let subject = match parsed.subject().to_string() {
            empty if empty.is_empty() => names.first().cloned().unwrap_or_default(),
            subject => subject,
        };
        let not_after = Some(parsed.validity().not_after.timestamp());
        Self { kind, subject, names, not_after }
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => {
                <[u8; 4]>::try_from(*bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string())
            }
            _ => {
                <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string())
            }
        },
        _ => None,
    }
}
