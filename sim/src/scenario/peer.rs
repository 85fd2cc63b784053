//! The peers of a scenario.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use ops_proxy::config::{
    Endpoint, NoProxy, PeerConfig, PortMapping, Proxies, Timing, Upstream, Via,
};
use ops_proxy::names::Name;
use ops_proxy::offer::Way;
use serde::{Deserialize, Serialize};

use super::offer::OfferSpec;
use super::tls::TlsSpec;
use super::units::Time;

/// A peer's configuration, under the name of its host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerSpec {
    /// The port for public traffic and connecting peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<u16>,
    /// Raw TCP ports, each with the name that it routes to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tcp: BTreeMap<String, String>,
    /// UDP ports, each with the name that it routes to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub udp: BTreeMap<String, String>,
    /// The listening peers to register with, as `host:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<String>,
    /// The HTTP proxy that those are reached through, as `host:port`. A peer that serves
    /// their names by CONNECT is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The names served, each with its backend as `host:port`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, String>,
    /// What it says about some of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offers: BTreeMap<String, OfferSpec>,
    /// The names that are passed on to `connect` when others register them here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transit: Vec<String>,
    /// The names that `connect` is asked for when nobody serves them here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<String>,
    /// The names that others are to register here before it is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<String>,
    /// The ways in which clients may reach any name here; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ways: Option<Vec<String>>,
    /// What it calls itself; its host's name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Sources that must send a PROXY protocol header, as networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// As the peer's setting of that name, like those below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_timeout: Option<Time>,
    /// Between two REGISTER refreshes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Time>,
    /// A link on which nothing arrived for this long is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_timeout: Option<Time>,
    /// While draining, new connections are accepted for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_grace: Option<Time>,
    /// While draining, running requests may last this long after the grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_limit: Option<Time>,
    /// A name without provider is known for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_retention: Option<Time>,
    /// From the loss of the last provider of a name, requests wait for one this long; zero
    /// if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Time>,
    /// It is ready without the names that it expects after this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Time>,
    /// A request over UDP ends when no datagram has come either way for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_idle: Option<Time>,
    /// Requests at a time over one UDP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_udp_requests: Option<usize>,
    /// Idle DATA connections kept per link at most; none if absent, which the real
    /// peer's default is not: a scenario's DATA connections are then one a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_data: Option<usize>,
    /// Its certificate and what it believes; it then takes and dials no plaintext
    /// peers. Absent, it speaks plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// It does not let in plaintext peers from beyond loopback.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refuses_plaintext: bool,
    /// It is not running until a `restart` step starts it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub starts_late: bool,
}

impl PeerSpec {
    /// The configuration that the peer on `host` is started with.
    ///
    /// # Errors
    /// The key at fault, the value, and what is wrong with it.
    pub fn config(&self, host: &str) -> Result<PeerConfig, (&'static str, String, String)> {
        fn read<T: std::str::FromStr>(
            key: &'static str,
            text: &str,
        ) -> Result<T, (&'static str, String, String)>
        where
            T::Err: std::fmt::Display,
        {
            text.parse().map_err(|error: T::Err| (key, text.to_owned(), error.to_string()))
        }
        let here = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let mut config = PeerConfig::new(read("id", self.id.as_deref().unwrap_or(host))?);
        config.node = host.to_owned();
        config.pod = "sim".to_owned();
        config.listen = self.listen.map(here);
        for (key, ports, mappings) in
            [("tcp", &self.tcp, &mut config.tcp), ("udp", &self.udp, &mut config.udp)]
        {
            for (port, name) in ports {
                let addr = here(read(key, port)?);
                mappings.push(PortMapping { addr, name: read::<Name>(key, name)? });
            }
        }
        for endpoint in &self.connect {
            config.connect.push(read("connect", endpoint)?);
        }
        let via = self.via.as_deref().map(|url| {
            Via::parse(url, "via").map_err(|error| ("via", url.to_owned(), error.to_string()))
        });
        config.proxies = Proxies::chosen(via.transpose()?, NoProxy::default());
        if let Some(name) = self.offers.keys().find(|name| !self.services.contains_key(*name)) {
            let problem = "is not among the services".to_owned();
            return Err(("offers", name.clone(), problem));
        }
        let usual = OfferSpec::default();
        for (name, backend) in &self.services {
            let offer = self.offers.get(name).unwrap_or(&usual);
            let service = offer.apply(read("services", backend)?);
            let service = service.map_err(|(text, problem)| ("offers", text, problem))?;
            config.services.insert(read("services", name)?, service);
        }
        for pattern in &self.transit {
            config.transit.push(read("transit", pattern)?);
        }
        for name in &self.reach {
            config.reach.push(read("reach", name)?);
        }
        for name in &self.expect {
            config.expect.push(read("expect", name)?);
        }
        if let Some(ways) = &self.ways {
            let ways = ways.iter().map(|way| read("ways", way)).collect::<Result<Vec<Way>, _>>()?;
            config.ways = ways.into_iter().collect();
        }
        for network in &self.trusted_proxies {
            config.trusted_proxies.push(read("trusted_proxies", network)?);
        }
        config.tls = self.tls.as_ref().map(TlsSpec::config).unwrap_or_default();
        config.insecure_plaintext = self.lets_in_plaintext();
        config.idle_data = self.idle_data.unwrap_or(0);
        config.timing = self.timing();
        if let Some(requests) = self.max_udp_requests {
            config.capacity.udp_requests = requests;
        }
        Ok(config)
    }

    /// Whether plaintext peers from beyond loopback are let in.
    pub fn lets_in_plaintext(&self) -> bool {
        self.tls.is_none() && !self.refuses_plaintext
    }

    /// The peer's times, defaults where the scenario says nothing.
    pub fn timing(&self) -> Timing {
        let standard = Timing::default();
        let or = |time: Option<Time>, standard| time.map_or(standard, |time| time.0);
        Timing {
            data_timeout: or(self.data_timeout, standard.data_timeout),
            heartbeat: or(self.heartbeat, standard.heartbeat),
            peer_timeout: or(self.peer_timeout, standard.peer_timeout),
            drain_grace: or(self.drain_grace, standard.drain_grace),
            drain_limit: or(self.drain_limit, standard.drain_limit),
            name_retention: or(self.name_retention, standard.name_retention),
            hold: or(self.hold, standard.hold),
            warm_up: or(self.warm_up, standard.warm_up),
            udp_idle: or(self.udp_idle, standard.udp_idle),
        }
    }

    /// The hosts that it refers to, each with the key that names it.
    pub fn references(&self) -> impl Iterator<Item = (&'static str, Endpoint)> {
        let connect = self.connect.iter().map(|text| ("connect", text));
        let via = self.via.iter().map(|text| ("via", text));
        let services = self.services.values().map(|text| ("services", text));
        let own = self.offers.values().flat_map(|offer| offer.own.values());
        let own = own.map(|text| ("offers", text));
        let endpoint = |text: &str| text.parse().ok().map(|one: Upstream| one.endpoint);
        let connect = connect.filter_map(move |(key, text)| Some((key, endpoint(text)?)));
        let dialled = via.chain(services).chain(own);
        connect.chain(dialled.filter_map(|(key, text)| Some((key, text.parse().ok()?))))
    }
}
