//! What is served under a name: its backends, and what is said about it.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::endpoint::{BadEndpoint, Endpoint};
use super::health::{Health, Probe};
use crate::names::Name;
use crate::offer::{Terms, Way};
use crate::words::words;

words! {
    /// A version of the PROXY protocol.
    ProxyVersion {
        /// A line of text.
        V1 = "v1",
        /// Binary, with room for the name that was asked for and for TLS.
        V2 = "v2",
    }
}

/// What is served under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// The backend for every way that has none of its own, but for UDP.
    pub backend: Option<Endpoint>,
    /// Ways with a backend of their own.
    pub own: BTreeMap<Way, Endpoint>,
    /// Each connection to a backend begins with a header that names the public client.
    pub proxy_protocol: Option<ProxyVersion>,
    /// What listening peers are told.
    pub terms: Terms,
    /// How its backends are checked, if they are.
    pub health: Option<Health>,
}

impl Service {
    /// The backend for requests that came this way; none if they may not. A backend of UDP
    /// is one only if it was said to be.
    pub fn backend(&self, way: Way) -> Option<&Endpoint> {
        let common = self.backend.as_ref().filter(|_| way != Way::Udp);
        let backend = self.own.get(&way).or(common);
        backend.filter(|_| self.terms.ways.contains(way))
    }

    /// All its backends, each once, in the order of their ways.
    pub fn backends(&self) -> Vec<&Endpoint> {
        let mut all: Vec<&Endpoint> = Vec::new();
        for backend in self.terms.ways.iter().filter_map(|way| self.backend(way)) {
            if !all.contains(&backend) {
                all.push(backend);
            }
        }
        all
    }

    /// The backend that a check by HTTP asks: the one for HTTP, or else the common one. The
    /// others may speak anything.
    pub fn asked_by_http(&self) -> Option<&Endpoint> {
        self.backend(Way::Http).or(self.backend.as_ref())
    }

    /// Whether its checks can be meant, for the service `name`.
    pub(super) fn check(&self, name: &Name) -> Result<(), String> {
        let Some(health) = &self.health else { return Ok(()) };
        health.check()?;
        let Probe::Http { host, .. } = &health.probe else { return Ok(()) };
        if !self.asked_by_http().is_some_and(|asked| self.backends().contains(&asked)) {
            return Err("health.http asks the backend for http, and there is none: \
                        use health = { tcp = true }"
                .to_owned());
        }
        if host.as_ref().unwrap_or(name).as_str().starts_with('*') {
            return Err("no backend knows a wildcard: set health.host to the Host that \
                        health.http is to ask for"
                .to_owned());
        }
        Ok(())
    }
}

impl From<Endpoint> for Service {
    /// On the usual terms.
    fn from(backend: Endpoint) -> Self {
        Self { backend: Some(backend), ..Self::default() }
    }
}

impl FromStr for Service {
    type Err = BadEndpoint;

    /// `HOST:PORT`, on the usual terms.
    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        text.parse::<Endpoint>().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::Ways;

    #[test]
    fn a_way_has_its_own_backend_or_the_common_one_if_it_is_open() {
        let mut service: Service = "10.0.0.1:80".parse().unwrap();
        service.own.insert(Way::Https, "10.0.0.1:443".parse().unwrap());
        let port = |service: &Service, way| service.backend(way).map(|backend| backend.port);
        assert_eq!(port(&service, Way::Http), Some(80));
        assert_eq!(port(&service, Way::Https), Some(443));
        assert_eq!(port(&service, Way::Connect), None, "it has to be named");
        assert_eq!(port(&service, Way::Udp), None, "and so has UDP");
        assert_eq!(service.backends().len(), 2);
        service.terms.ways = Ways::NONE.with(Way::Https);
        assert_eq!(port(&service, Way::Http), None);
        assert_eq!(service.backends().len(), 1);
        service.terms.ways = Ways::ALL;
        assert_eq!(port(&service, Way::Udp), None, "what speaks TCP need not speak UDP");
    }
}
