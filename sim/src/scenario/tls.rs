//! CAs, certificates and tokens of a scenario, and which peer has which of them.

use serde::{Deserialize, Serialize};

use super::{Moment, PeerSpec, Problem, Scenario};

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

/// The TLS of one peer: what its files hold when it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSpec {
    /// Its certificate, and the key to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The CAs that it believes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<String>,
    /// What it knows to be revoked; without, it does not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<String>,
    /// The token that it shows to listening peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The tokens that it accepts from connecting peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept_tokens: Vec<TokenRule>,
}

/// A token that a listening peer accepts; as the peer's own file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRule {
    /// The token.
    pub secret: String,
    /// The one peer that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What may be registered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

impl Scenario {
    /// The CA of this name, or the first one.
    pub fn ca_of<'a>(&'a self, name: Option<&'a str>) -> Option<&'a str> {
        name.or_else(|| self.cas.first().map(String::as_str))
    }

    /// Whether everything that TLS refers to is there.
    pub(super) fn check_tls(&self) -> Result<(), Problem> {
        for (name, certificate) in &self.certificates {
            let key = |key: &str| format!("certificates.{name}.{key}");
            self.check_ca(&key("ca"), certificate.ca.as_deref())?;
            let peer = certificate.peer.as_deref().unwrap_or(name);
            let id: Result<ops_proxy::names::PeerId, _> = peer.parse();
            id.map_err(|error| Problem::new(&key("peer"), peer, error.to_string()))?;
            for name in &certificate.names {
                let registered = ops_proxy::names::Name::registered(name);
                registered.map_err(|error| Problem::new(&key("names"), name, error.to_string()))?;
            }
            if certificate.not_before > certificate.not_after {
                let (first, last) = (certificate.not_before, certificate.not_after);
                let message = format!("it is valid from {first} on, and not after {last}");
                return Err(Problem::new(&key("not_after"), &last.to_string(), message));
            }
        }
        for (name, list) in &self.revocations {
            let key = |key: &str| format!("revocations.{name}.{key}");
            self.check_ca(&key("ca"), list.ca.as_deref())?;
            for certificate in &list.certificates {
                self.check_certificate(&key("certificates"), certificate)?;
            }
        }
        for (host, peer) in &self.peers {
            self.check_peer_tls(host, peer)?;
        }
        Ok(())
    }

    fn check_peer_tls(&self, host: &str, peer: &PeerSpec) -> Result<(), Problem> {
        let Some(tls) = &peer.tls else { return Ok(()) };
        let key = |key: &str| format!("peers.{host}.tls.{key}");
        if let Some(certificate) = &tls.certificate {
            self.check_certificate(&key("certificate"), certificate)?;
        }
        for ca in &tls.ca {
            self.check_ca(&key("ca"), Some(ca))?;
        }
        if let Some(list) = &tls.revocations {
            self.check_revocations(&key("revocations"), list)?;
        }
        Ok(())
    }

    /// `name` is a CA of this scenario; without a name there must be one at all.
    pub(crate) fn check_ca(&self, key: &str, name: Option<&str>) -> Result<(), Problem> {
        match name {
            None if self.cas.is_empty() => {
                Err(Problem::new(key, "", "name a CA in `cas`, at the top of the file"))
            }
            Some(name) if !self.cas.iter().any(|ca| ca == name) => {
                Err(Problem::unknown(key, "CA", name, self.cas.iter().map(String::as_str)))
            }
            _ => Ok(()),
        }
    }

    /// `name` is a certificate of this scenario.
    pub(crate) fn check_certificate(&self, key: &str, name: &str) -> Result<(), Problem> {
        let known = || self.certificates.keys().map(String::as_str);
        match self.certificates.contains_key(name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "certificate", name, known())),
        }
    }

    /// `name` is a revocation list of this scenario.
    pub(crate) fn check_revocations(&self, key: &str, name: &str) -> Result<(), Problem> {
        let known = || self.revocations.keys().map(String::as_str);
        match self.revocations.contains_key(name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "revocation list", name, known())),
        }
    }
}
