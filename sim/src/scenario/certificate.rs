//! The certificates of a scenario, and what its CAs revoke.

use serde::{Deserialize, Serialize};

use super::units::Moment;

/// What a certificate says, under its name in the scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateSpec {
    /// The CA that signs it; the first of `cas` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The peer id in its identity, `spiffe://DOMAIN/peer/PEER`; the certificate's
    /// own name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The trust domain in its identity; `mesh` if absent, whichever CA signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// What the peer is dialled by, and what it may register; wildcards included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What the peer may reach through listening peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<String>,
    /// From when on it is valid; always if absent, as far as runs go.
    #[serde(skip_serializing_if = "is_long_ago")]
    pub not_before: Moment,
    /// Until when.
    #[serde(skip_serializing_if = "is_far_off")]
    pub not_after: Moment,
    /// Which ends of TLS it is for; both if absent.
    #[serde(skip_serializing_if = "is_for_both")]
    pub usage: Vec<Usage>,
}

fn is_long_ago(moment: &Moment) -> bool {
    *moment == -Moment::LONG
}

fn is_far_off(moment: &Moment) -> bool {
    *moment == Moment::LONG
}

fn is_for_both(usage: &[Usage]) -> bool {
    usage == Usage::BOTH
}

impl Default for CertificateSpec {
    fn default() -> Self {
        Self {
            ca: None,
            peer: None,
            trust_domain: None,
            names: Vec::new(),
            reach: Vec::new(),
            not_before: -Moment::LONG,
            not_after: Moment::LONG,
            usage: Usage::BOTH.to_vec(),
        }
    }
}

/// An end of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// The end that listens.
    Server,
    /// The end that connects.
    Client,
}

impl Usage {
    const BOTH: [Self; 2] = [Self::Server, Self::Client];
}

/// What a CA has revoked, under the name of the list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationSpec {
    /// The CA; the first of `cas` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What is revoked; nothing is a list, too.
    pub certificates: Vec<String>,
}
