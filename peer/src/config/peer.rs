//! The configuration of one peer, and whether it is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::capacity::Capacity;
use super::endpoint::PortMapping;
use super::error::ConfigError;
use super::files::TlsConfig;
use super::namespace::Namespace;
use super::proxies::Proxies;
use super::service::Service;
use super::timing::Timing;
use super::upstream::Upstream;
use crate::limits::{IDLE_DATA, IDLE_DATA_PER_LINK, NAMES_PER_LINK};
use crate::names::{Name, NamePattern, PeerId};
use crate::offer::{Offer, Way, Ways};

/// The configuration of one peer. [`cli`](crate::cli) reads it from flags, environment
/// and file.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// This peer's id on its links.
    pub peer_id: PeerId,
    /// The `node` label of every metric.
    pub node: String,
    /// The `pod` label of every metric.
    pub pod: String,
    /// Where public traffic and connecting peers arrive.
    pub listen: Option<SocketAddr>,
    /// Raw TCP listeners, each with the name it routes to.
    pub tcp: Vec<PortMapping>,
    /// UDP ports, each with the name it routes to.
    pub udp: Vec<PortMapping>,
    /// The listening peers to register with.
    pub connect: Vec<Upstream>,
    /// The proxy that those are dialled through, if any.
    pub proxies: Proxies,
    /// The names served by this peer.
    pub services: BTreeMap<Name, Service>,
    /// The namespaces of Kubernetes whose annotated Services are served, too.
    pub kubernetes: BTreeSet<Namespace>,
    /// The names that are passed on to the peers in `connect` when others register them here.
    pub transit: Vec<NamePattern>,
    /// The names and wildcards that the peers in `connect` are asked for, when nobody serves
    /// them here.
    pub reach: Vec<Name>,
    /// The names that others are to register here before this peer is ready, or until the
    /// warm-up is over.
    pub expect: Vec<Name>,
    /// The ways in which public clients may reach any name here, whatever its services say.
    pub ways: Ways,
    /// Where the admin pages are served.
    pub admin: Option<SocketAddr>,
    /// Sources that must send a PROXY protocol header; no other source may.
    pub trusted_proxies: Vec<IpNet>,
    /// Accept plaintext peers from beyond loopback.
    pub insecure_plaintext: bool,
    /// How peers authenticate; if unset, they speak plaintext.
    pub tls: TlsConfig,
    /// A directory with certificates of names whose public TLS ends here.
    pub public_cert: Option<PathBuf>,
    /// Sends clear-text HTTP for these names to HTTPS.
    pub redirect_https: bool,
    /// Most idle DATA connections kept, on all links together; 0 keeps none.
    pub idle_data: usize,
    /// How many connections, names and requests are accepted.
    pub capacity: Capacity,
    /// Deadlines and intervals.
    pub timing: Timing,
}

impl PeerConfig {
    /// A peer that does nothing yet; set the fields it needs.
    pub fn new(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            node: "unknown".to_owned(),
            pod: "unknown".to_owned(),
            listen: None,
            tcp: Vec::new(),
            udp: Vec::new(),
            connect: Vec::new(),
            proxies: Proxies::default(),
            services: BTreeMap::new(),
            kubernetes: BTreeSet::new(),
            transit: Vec::new(),
            reach: Vec::new(),
            expect: Vec::new(),
            ways: Ways::ALL,
            admin: None,
            trusted_proxies: Vec::new(),
            insecure_plaintext: false,
            tls: TlsConfig::default(),
            public_cert: None,
            redirect_https: false,
            idle_data: IDLE_DATA,
            capacity: Capacity::default(),
            timing: Timing::default(),
        }
    }

    /// Whether public traffic can arrive here.
    pub fn is_listening(&self) -> bool {
        self.listen.is_some() || !self.tcp.is_empty() || !self.udp.is_empty()
    }

    /// Whether datagrams can be carried here, from a port or to a backend.
    pub fn carries_datagrams(&self) -> bool {
        let has_backend = |service: &Service| service.backend(Way::Udp).is_some();
        !self.udp.is_empty() || self.services.values().any(has_backend)
    }

    /// Whether this peer registers with others.
    pub fn is_connecting(&self) -> bool {
        !self.connect.is_empty()
    }

    /// What this peer says about each name that it serves.
    pub fn offers(&self) -> impl Iterator<Item = Offer> {
        let offer = |(name, service): (&Name, &Service)| Offer {
            name: name.clone(),
            terms: service.terms.clone(),
        };
        self.services.iter().map(offer)
    }

    /// Whether `name`, which another peer has registered here, is passed on.
    pub fn passes_on(&self, name: &Name) -> bool {
        self.transit.iter().any(|pattern| pattern.covers(name))
    }

    /// Whether listening peers learn from a certificate who this is and what it may
    /// register. A token takes precedence.
    pub fn shows_certificate(&self) -> bool {
        self.is_connecting() && self.tls.cert.is_some() && self.tls.token.is_none()
    }

    /// This configuration, changed to `new` as far as a running peer can: the rest stays as
    /// it is, and the keys of what stays against `new` are returned.
    #[must_use]
    pub fn changed_to(&self, mut new: Self) -> (Self, Vec<&'static str>) {
        let mut fixed = Vec::new();
        let mut keep = |key, differs: bool| {
            if differs {
                fixed.push(key);
            }
        };
        keep("peer_id", new.peer_id != self.peer_id);
        keep("listen", new.listen != self.listen);
        keep("admin", new.admin != self.admin);
        keep("via", new.proxies != self.proxies);
        keep("tls", !new.tls.is_same(&self.tls));
        keep("public_cert", new.public_cert != self.public_cert);
        keep("idle_data", new.idle_data != self.idle_data);
        keep("expect", new.expect != self.expect);
        keep("kubernetes", new.kubernetes != self.kubernetes);
        keep("warm_up", new.timing.warm_up != self.timing.warm_up);
        new.timing.warm_up = self.timing.warm_up;
        // The metrics of a role are there or not from the start on.
        let begins = !self.is_connecting() && new.is_connecting();
        keep("connect", begins);
        if begins {
            new.connect = self.connect.clone();
        }
        let has_ports = !new.tcp.is_empty() || !new.udp.is_empty();
        let begins = has_ports && !self.is_listening();
        keep("tcp", begins);
        if begins {
            (new.tcp, new.udp) = (self.tcp.clone(), self.udp.clone());
        }
        let changed = Self {
            peer_id: self.peer_id.clone(),
            node: self.node.clone(),
            pod: self.pod.clone(),
            listen: self.listen,
            admin: self.admin,
            proxies: self.proxies.clone(),
            tls: self.tls.clone(),
            public_cert: self.public_cert.clone(),
            idle_data: self.idle_data,
            expect: self.expect.clone(),
            kubernetes: self.kubernetes.clone(),
            ..new
        };
        (changed, fixed)
    }

    /// Checks that a peer can be started with this.
    ///
    /// # Errors
    /// The first key at fault, and what is wrong with it.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.timing.check()?;
        self.capacity.check()?;
        if !self.is_listening() && !self.is_connecting() {
            let problem = "nothing to do: set listen, tcp or udp to accept public traffic, \
                           or connect to register services with another peer";
            return Err(ConfigError::new("listen", problem));
        }
        if !self.transit.is_empty() && (self.listen.is_none() || !self.is_connecting()) {
            let problem = "what is registered here is passed on to other peers: set listen and \
                           connect";
            return Err(ConfigError::new("transit", problem));
        }
        let can_ask = self.is_listening() && self.is_connecting();
        if !can_ask && !self.reach.is_empty() {
            let problem = "what clients ask for here is asked of other peers: set connect, and \
                           listen, tcp or udp";
            return Err(ConfigError::new("reach", problem));
        }
        if self.listen.is_none() && !self.expect.is_empty() {
            let problem = "others register the names that are expected: set listen";
            return Err(ConfigError::new("expect", problem));
        }
        if let Some(name) = self.expect.iter().find(|name| self.services.contains_key(*name)) {
            let problem = format!("this peer serves {name} itself; leave it out");
            return Err(ConfigError::new("expect", problem));
        }
        if self.is_connecting()
            && self.services.is_empty()
            && self.kubernetes.is_empty()
            && self.transit.is_empty()
            && self.reach.is_empty()
        {
            let problem = "connect is set, but there is nothing to register: set at least one \
                           service, kubernetes, transit or reach";
            return Err(ConfigError::new("service", problem));
        }
        if self.services.len() > NAMES_PER_LINK {
            let problem = format!("too many: one link carries at most {NAMES_PER_LINK}");
            return Err(ConfigError::new("service", problem));
        }
        for (name, service) in &self.services {
            let fault = |problem| ConfigError::new("service", format!("{name}: {problem}"));
            service.check(name).map_err(fault)?;
        }
        if self.idle_data > IDLE_DATA_PER_LINK {
            let problem = format!("must be at most {IDLE_DATA_PER_LINK}, the limit per link");
            return Err(ConfigError::new("idle_data", problem));
        }
        if self.public_cert.is_some() && self.listen.is_none() {
            let problem = "set listen, or no public TLS arrives here";
            return Err(ConfigError::new("public_cert", problem));
        }
        if self.redirect_https && self.public_cert.is_none() {
            let problem = "only names with a certificate in public_cert are redirected: set it";
            return Err(ConfigError::new("redirect_https", problem));
        }
        self.check_addresses()?;
        self.check_upstreams()?;
        self.check_tls()?;
        self.check_plaintext()
    }

    /// No two listeners may use the same address.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let listen = self.listen.map(|addr| ("listen", addr));
        let tcp = self.tcp.iter().map(|mapping| ("tcp", mapping.addr));
        let admin = self.admin.map(|addr| ("admin", addr));
        differ(listen.into_iter().chain(tcp).chain(admin))?;
        // The ports of UDP are others than those of TCP.
        differ(self.udp.iter().map(|mapping| ("udp", mapping.addr)))
    }

    /// No listening peer may be listed twice.
    fn check_upstreams(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        match self.connect.iter().find(|upstream| !seen.insert(&upstream.endpoint)) {
            None => Ok(()),
            Some(Upstream { endpoint, .. }) => {
                let problem = format!(
                    "{endpoint} is listed twice; for links to several peers behind it, write \
                     {endpoint}*2"
                );
                Err(ConfigError::new("connect", problem))
            }
        }
    }

    /// The TLS settings must suffice for what this peer does.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.tls;
        let refuse = |key, problem| Err(ConfigError::new(key, problem));
        if tls.cert.is_some() != tls.key.is_some() {
            let key = if tls.cert.is_some() { "tls_key" } else { "tls_cert" };
            return refuse(key, "tls_cert and tls_key must be set together");
        }
        if tls.crl.is_some() && tls.ca.is_none() {
            return refuse("tls_crl", "requires tls_ca, whose certificates it revokes");
        }
        if tls.accept_tokens.is_some() && tls.cert.is_none() {
            return refuse(
                "accept_tokens",
                "tokens are accepted over TLS only: set tls_cert and tls_key",
            );
        }
        if tls.token.is_some() && tls.ca.is_none() {
            return refuse(
                "token_file",
                "a token is used only with a listening peer that tls_ca verifies: set tls_ca",
            );
        }
        if self.listen.is_some()
            && tls.cert.is_some()
            && tls.ca.is_none()
            && tls.accept_tokens.is_none()
        {
            return refuse("tls_ca", "set tls_ca or accept_tokens, or no peer can authenticate");
        }
        if self.is_connecting() && tls.cert.is_some() && tls.ca.is_none() {
            return refuse("tls_ca", "set tls_ca to verify the listening peers");
        }
        if self.is_connecting() && tls.ca.is_some() && tls.cert.is_none() && tls.token.is_none() {
            return refuse(
                "tls_cert",
                "set tls_cert and tls_key, or token_file, to authenticate this peer",
            );
        }
        Ok(())
    }

    /// Without TLS, links stay on this machine unless explicitly allowed.
    fn check_plaintext(&self) -> Result<(), ConfigError> {
        if self.insecure_plaintext {
            return Ok(());
        }
        let refuse = |key, what: String, instead| {
            let problem = format!(
                "{what} is not a loopback address, and without TLS anyone on the path can read and \
                 change traffic and register names: {instead}; or use a loopback address; or, on a \
                 trusted network only, pass --insecure-plaintext"
            );
            Err(ConfigError::new(key, problem))
        };
        let beyond = self.listen.filter(|addr| !addr.ip().to_canonical().is_loopback());
        if let Some(addr) = beyond.filter(|_| self.tls.cert.is_none()) {
            return refuse("listen", addr.to_string(), "set tls_cert, tls_key and tls_ca");
        }
        let beyond = self.connect.iter().find(|peer| !peer.endpoint.is_loopback());
        if let Some(peer) = beyond.filter(|_| self.tls.ca.is_none()) {
            return refuse("connect", peer.to_string(), "set tls_ca, tls_cert and tls_key");
        }
        Ok(())
    }
}

/// No two of these may be the same address.
fn differ(all: impl Iterator<Item = (&'static str, SocketAddr)>) -> Result<(), ConfigError> {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, addr) in all {
        if let Some((other, clash)) = taken.iter().find(|(_, other)| overlap(*other, addr)) {
            let problem = format!("{addr} is already used by {other} {clash}");
            return Err(ConfigError::new(key, problem));
        }
        taken.push((key, addr));
    }
    Ok(())
}

/// Whether the system would refuse to bind the second of these. Port 0 never
/// clashes. An unspecified address covers all of its family, and `[::]` both
/// families.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}
