//! Whether the parts of a scenario fit together.

use std::collections::BTreeSet;

use ops_proxy::names::{Name, PeerId};

use super::cast::Cast;
use super::peer::PeerSpec;
use super::problem::Problem;

impl Cast<'_> {
    /// Whether hosts are told apart, and everything that they refer to is there.
    pub(super) fn check_hosts(&self) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for &host in &self.hosts {
            if !seen.insert(host) {
                return Err(Problem::new(host, host, "two hosts have this name"));
            }
        }
        for (host, peer) in self.peers {
            let bad = |(key, value, message): (&str, String, String)| {
                Problem::new(&format!("peers.{host}.{key}"), &value, message)
            };
            peer.config(host).map_err(bad)?;
            for (key, endpoint) in peer.references() {
                let key = format!("peers.{host}.{key}");
                self.check_endpoint(&key, &endpoint.to_string())?;
            }
        }
        self.check_tls()?;
        if self.backends.values().any(|backend| backend.port == 0) {
            return Err(Problem::new("port", "0", "a port is 1 to 65535"));
        }
        Ok(())
    }

    /// Whether everything that TLS refers to is there.
    fn check_tls(&self) -> Result<(), Problem> {
        for (name, certificate) in self.certificates {
            let key = |key: &str| format!("certificates.{name}.{key}");
            self.check_ca(&key("ca"), certificate.ca.as_deref())?;
            let peer = certificate.peer.as_deref().unwrap_or(name);
            let id: Result<PeerId, _> = peer.parse();
            id.map_err(|error| Problem::new(&key("peer"), peer, error.to_string()))?;
            for name in &certificate.names {
                let registered = Name::registered(name);
                registered.map_err(|error| Problem::new(&key("names"), name, error.to_string()))?;
            }
            if certificate.not_before > certificate.not_after {
                let (first, last) = (certificate.not_before, certificate.not_after);
                let message = format!("it is valid from {first} on, and not after {last}");
                return Err(Problem::new(&key("not_after"), &last.to_string(), message));
            }
        }
        for (name, list) in self.revocations {
            let key = |key: &str| format!("revocations.{name}.{key}");
            self.check_ca(&key("ca"), list.ca.as_deref())?;
            for certificate in &list.certificates {
                self.check_certificate(&key("certificates"), certificate)?;
            }
        }
        for (host, peer) in self.peers {
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
}
