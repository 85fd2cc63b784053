//! Which names a peer may register, and which it may reach through a listening peer.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio_rustls::rustls;
use x509_parser::asn1_rs::{self, Oid, TaggedExplicit, Utf8String};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token::TokenRule;
use crate::names::{Name, NamePattern};

/// Marks what a certificate's owner may reach. The arc is that of UUIDs (ITU-T X.667), which
/// needs no registration.
pub const REACH_OID: &[u64] = &[2, 25, 5_284_616_905_293_417_871];

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

    /// Whether `name` may be reached through this peer. That has to be said: in clear text,
    /// nothing may.
    pub fn reaches(&self, name: &Name) -> bool {
        match self {
            Self::Any => false,
            Self::Rule(rule) => rule.reach().iter().any(|pattern| pattern.covers(name)),
            Self::Certificate(certificate) => {
                reach_of(certificate).iter().any(|pattern| pattern.covers(name))
            }
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

/// The names that the owner of a certificate may reach: each an `otherName` of the type
/// [`REACH_OID`] among its subject alternative names (RFC 5280 §4.2.1.6), a `UTF8String`.
/// What is no pattern there means nothing.
pub fn reach_of(certificate: &CertificateDer<'_>) -> Vec<NamePattern> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let reach = Oid::from(REACH_OID).expect("the arcs are in order");
    let patterns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::OtherName(oid, value) if *oid == reach => {
            let (_, value) =
                TaggedExplicit::<Utf8String<'_>, asn1_rs::Error, 0>::from_der(value).ok()?;
            value.into_inner().as_ref().parse().ok()
        }
        _ => None,
    });
    patterns.collect()
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
