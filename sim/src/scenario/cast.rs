//! Who takes part in a scenario, which is what its parts may refer to.

use std::collections::BTreeMap;

use ops_proxy::config::Endpoint;

use super::backend::BackendSpec;
use super::certificate::{CertificateSpec, RevocationSpec};
use super::peer::PeerSpec;
use super::problem::Problem;

/// Everything in a scenario that has a name.
#[derive(Debug)]
pub struct Cast<'a> {
    /// The CAs.
    pub cas: &'a [String],
    /// What they sign.
    pub certificates: &'a BTreeMap<String, CertificateSpec>,
    /// What they revoke.
    pub revocations: &'a BTreeMap<String, RevocationSpec>,
    /// The peers.
    pub peers: &'a BTreeMap<String, PeerSpec>,
    /// The backends.
    pub backends: &'a BTreeMap<String, BackendSpec>,
    /// The hosts of clients.
    pub clients: &'a [String],
    /// All hosts: peers, backends, clients, in the order of their creation.
    pub hosts: Vec<&'a str>,
    /// What a step makes resolvable.
    pub names: Vec<&'a str>,
    /// The raw connections that a step opens.
    pub raws: Vec<&'a str>,
}

impl Cast<'_> {
    /// `text` is `host:port` of a host here, or of a name that a step defines.
    pub(super) fn check_endpoint(&self, key: &str, text: &str) -> Result<(), Problem> {
        let endpoint: Result<Endpoint, _> = text.parse();
        let endpoint = endpoint.map_err(|error| Problem::new(key, text, error.to_string()))?;
        let defined = self.names.contains(&endpoint.host.as_str());
        if defined { Ok(()) } else { self.check_host(key, &endpoint.host) }
    }

    /// `name` is a host of this scenario.
    pub(super) fn check_host(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.hosts.contains(&name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "host", name, self.hosts.iter().copied())),
        }
    }

    /// `name` is a peer of this scenario.
    pub(super) fn check_peer(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.peers.contains_key(name) {
            true => Ok(()),
            false => {
                Err(Problem::unknown(key, "peer", name, self.peers.keys().map(String::as_str)))
            }
        }
    }

    /// `name` is a client of this scenario.
    pub(super) fn check_client(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.clients.iter().any(|client| client == name) {
            true => Ok(()),
            false => {
                Err(Problem::unknown(key, "client", name, self.clients.iter().map(String::as_str)))
            }
        }
    }

    /// `name` is a CA of this scenario; without a name there must be one at all.
    pub(super) fn check_ca(&self, key: &str, name: Option<&str>) -> Result<(), Problem> {
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
    pub(super) fn check_certificate(&self, key: &str, name: &str) -> Result<(), Problem> {
        let known = || self.certificates.keys().map(String::as_str);
        match self.certificates.contains_key(name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "certificate", name, known())),
        }
    }

    /// `name` is a revocation list of this scenario.
    pub(super) fn check_revocations(&self, key: &str, name: &str) -> Result<(), Problem> {
        let known = || self.revocations.keys().map(String::as_str);
        match self.revocations.contains_key(name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "revocation list", name, known())),
        }
    }
}
