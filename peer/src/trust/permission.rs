//! Which names a peer may register.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio_rustls::rustls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token::TokenRule;
use crate::names::Name;

/// Which names a peer may register, and carry requests of.
#[derive(Debug, Clone)]
pub enum Permission {
    /// All.
    Any,
    /// Those that this certificate is valid for.
    Certificate(CertificateDer<'static>),
    /// Those of this token's rule, a wildcard standing for itself and the names that it
    /// matches.
    Rule(Arc<TokenRule>),
}

impl Permission {
    /// Whether `name` may be registered.
    pub fn permits(&self, name: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Rule(rule) => rule.names().is_none_or(|patterns| {
                patterns.iter().any(|pattern| {
                    pattern == name || name.wildcard().as_deref() == Some(pattern.as_str())
                })
            }),
            Self::Certificate(certificate) => certificate_permits(certificate, name),
        }
    }

    /// Whether both come from the same certificate or rule, and so permit the same: much
    /// cheaper than to ask for each name.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Certificate(one), Self::Certificate(other)) => one == other,
            (Self::Rule(one), Self::Rule(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

fn certificate_permits(certificate: &CertificateDer<'_>, name: &Name) -> bool {
    let text = name.as_str();
    if text.starts_with("*.") {
        return has_dns_name(certificate, text);
    }
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let Ok(subject) = ServerName::try_from(text) else { return false };
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    verify_server_name(&parsed, &subject).is_ok()
}

/// A wildcard may be registered by whose certificate holds that very wildcard.
fn has_dns_name(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(wanted),
        _ => false,
    })
}
