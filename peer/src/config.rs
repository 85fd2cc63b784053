//! What a peer is told to do, after all sources were merged and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::admission::Capacity;
use crate::limits::{IDLE_DATA, IDLE_DATA_PER_LINK, NAMES_PER_LINK};
use crate::names::{Name, PeerId};
use crate::tls::TlsConfig;

/// The longest time that may be set: what is meant to last longer is a mistake,
/// and adding it to a clock must not overflow.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A checked configuration. How it is read from flags, environment and file is
/// the command's business ([`cli`](crate::cli)).
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// What this peer calls itself on its links.
    pub peer_id: PeerId,
    /// The `node` label of every metric.
    pub node: String,
    /// The `pod` label of every metric.
    pub pod: String,
    /// Where public traffic and connecting peers arrive.
    pub listen: Option<SocketAddr>,
    /// Raw TCP listeners, each with the name that it routes to.
    pub tcp: Vec<TcpMapping>,
    /// The listening peers to register with.
    pub connect: Vec<Endpoint>,
    /// The names served by this peer, each with its backend.
    pub services: BTreeMap<Name, Endpoint>,
    /// Where `/metrics` and its like are served.
    pub admin: Option<SocketAddr>,
    /// Sources that must send a PROXY protocol header; nobody else may.
    pub trusted_proxies: Vec<IpNet>,
    /// Plaintext peers are let in from beyond loopback.
    pub insecure_plaintext: bool,
    /// How peers prove who they are; unset, they speak plaintext.
    pub tls: TlsConfig,
    /// Idle DATA connections kept per link at most; 0 keeps none.
    pub idle_data: usize,
    /// How many connections are let in.
    pub capacity: Capacity,
    /// Deadlines and intervals.
    pub timing: Timing,
}

/// The times an operator may set. All are longer than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From FORWARD to its DATA connection.
    pub data_timeout: Duration,
    /// Between two REGISTER refreshes.
    pub heartbeat: Duration,
    /// A link on which nothing arrived for this long is dead.
    pub peer_timeout: Duration,
    /// While draining, new connections are accepted for this long.
    pub drain_grace: Duration,
    /// While draining, running requests may last this long after the grace.
    pub drain_limit: Duration,
    /// A name without provider is known for this long.
    pub name_retention: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            data_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            peer_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(5),
            drain_limit: Duration::from_secs(30),
            name_retention: Duration::from_secs(600),
        }
    }
}

impl PeerConfig {
    /// A peer that does nothing yet; set the fields that it shall have.
    pub fn new(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            node: "unknown".to_owned(),
            pod: "unknown".to_owned(),
            listen: None,
            tcp: Vec::new(),
            connect: Vec::new(),
            services: BTreeMap::new(),
            admin: None,
            trusted_proxies: Vec::new(),
            insecure_plaintext: false,
            tls: TlsConfig::default(),
            idle_data: IDLE_DATA,
            capacity: Capacity::default(),
            timing: Timing::default(),
        }
    }

    /// Whether public traffic can arrive here.
    pub fn is_listening(&self) -> bool {
        self.listen.is_some() || !self.tcp.is_empty()
    }

    /// Whether this peer registers with others.
    pub fn is_connecting(&self) -> bool {
        !self.connect.is_empty()
    }

    /// Whether a peer can be started with this.
    ///
    /// # Errors
    /// The first key at fault, and what is wrong with it.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.timing.check()?;
        self.capacity.check()?;
        if !self.is_listening() && !self.is_connecting() {
            let problem = "nothing to do: set listen or tcp to take public traffic, \
                           or connect to register services with another peer";
            return Err(ConfigError::new("listen", problem));
        }
        if self.is_connecting() && self.services.is_empty() {
            let problem = "connect needs at least one service to register";
            return Err(ConfigError::new("service", problem));
        }
        if self.services.len() > NAMES_PER_LINK {
            let problem = format!("at most {NAMES_PER_LINK} names fit one link");
            return Err(ConfigError::new("service", problem));
        }
        if self.idle_data > IDLE_DATA_PER_LINK {
            let problem =
                format!("a listening peer takes at most {IDLE_DATA_PER_LINK} of one link");
            return Err(ConfigError::new("idle_data", problem));
        }
        self.check_addresses()?;
        self.check_tls()?;
        self.check_plaintext()
    }

    /// No two listeners may want the same address.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let listen = self.listen.map(|addr| ("listen", addr));
        let tcp = self.tcp.iter().map(|mapping| ("tcp", mapping.addr));
        let admin = self.admin.map(|addr| ("admin", addr));
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (key, addr) in listen.into_iter().chain(tcp).chain(admin) {
            if let Some((other, clash)) = taken.iter().find(|(_, other)| overlap(*other, addr)) {
                let problem = format!("{addr} is taken already by {other} {clash}");
                return Err(ConfigError::new(key, problem));
            }
            taken.push((key, addr));
        }
        Ok(())
    }

    /// What is set of TLS must be enough for what this peer does.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.tls;
        let refuse = |key, problem| Err(ConfigError::new(key, problem));
        if tls.cert.is_some() != tls.key.is_some() {
            let key = if tls.cert.is_some() { "tls_key" } else { "tls_cert" };
            return refuse(key, "tls_cert and tls_key go together");
        }
        if tls.crl.is_some() && tls.ca.is_none() {
            return refuse("tls_crl", "revocations need tls_ca, whose certificates they revoke");
        }
        if tls.accept_tokens.is_some() && tls.cert.is_none() {
            return refuse(
                "accept_tokens",
                "tokens are accepted inside TLS only: set tls_cert and tls_key",
            );
        }
        if tls.token.is_some() && tls.ca.is_none() {
            return refuse(
                "token_file",
                "a token is shown only to a listening peer that tls_ca verifies: set tls_ca",
            );
        }
        if self.listen.is_some()
            && tls.cert.is_some()
            && tls.ca.is_none()
            && tls.accept_tokens.is_none()
        {
            return refuse("tls_ca", "set tls_ca or accept_tokens, or no peer could prove itself");
        }
        if self.is_connecting() && tls.cert.is_some() && tls.ca.is_none() {
            return refuse("tls_ca", "set tls_ca to verify the listening peers");
        }
        if self.is_connecting() && tls.ca.is_some() && tls.cert.is_none() && tls.token.is_none() {
            return refuse(
                "tls_cert",
                "set tls_cert and tls_key, or token_file, to prove who this peer is",
            );
        }
        Ok(())
    }

    /// Without TLS, links stay on this machine unless told otherwise.
    fn check_plaintext(&self) -> Result<(), ConfigError> {
        if self.insecure_plaintext {
            return Ok(());
        }
        let refuse = |key, what: String, instead| {
            let problem = format!(
                "{what} is beyond loopback, and without TLS anyone on the way can read, change and \
                 register: {instead}, use a loopback address, or allow it with --insecure-plaintext \
                 where the network between the peers is trusted"
            );
            Err(ConfigError::new(key, problem))
        };
        let beyond = self.listen.filter(|addr| !addr.ip().to_canonical().is_loopback());
        if let Some(addr) = beyond.filter(|_| self.tls.cert.is_none()) {
            return refuse("listen", addr.to_string(), "set tls_cert, tls_key and tls_ca");
        }
        let beyond = self.connect.iter().find(|peer| !peer.is_loopback());
        if let Some(peer) = beyond.filter(|_| self.tls.ca.is_none()) {
            return refuse("connect", peer.to_string(), "set tls_ca, tls_cert and tls_key");
        }
        Ok(())
    }
}

impl Capacity {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, limit) in [
            ("max_connections", self.connections),
            ("max_connections_per_source", self.connections_per_source),
            ("max_names_per_peer", self.names_per_peer),
            ("max_pending_per_peer", self.pending_per_peer),
        ] {
            if limit == 0 {
                return Err(ConfigError::new(key, "must be at least 1"));
            }
        }
        Ok(())
    }
}

impl Timing {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, time) in [
            ("data_timeout", self.data_timeout),
            ("heartbeat", self.heartbeat),
            ("peer_timeout", self.peer_timeout),
            ("drain_grace", self.drain_grace),
            ("drain_limit", self.drain_limit),
            ("name_retention", self.name_retention),
        ] {
            if time.is_zero() {
                return Err(ConfigError::new(key, "must be longer than zero"));
            }
            if time > LONGEST_TIME {
                return Err(ConfigError::new(key, "must be at most 366 days"));
            }
        }
        if self.heartbeat >= self.peer_timeout {
            let timeout = humantime::format_duration(self.peer_timeout);
            let problem = format!("must be shorter than peer_timeout, which is {timeout}");
            return Err(ConfigError::new("heartbeat", problem));
        }
        Ok(())
    }
}

/// Whether the system would refuse to bind the second of these. Port 0 never
/// clashes; an unspecified address stands for all of its family, and `[::]` for
/// both families.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

/// A peer cannot be started as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key at fault, as it stands in the TOML file; the flag has `-` for `_`.
    pub key: String,
    /// What is wrong with it, for the operator.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { key: key.into(), problem: problem.to_string() }
    }
}

/// `HOST:PORT`; the host is resolved at each dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A host name or an IP literal, IPv6 without brackets.
    pub host: String,
    /// A port other than 0.
    pub port: u16,
}

impl Endpoint {
    /// Whether this can only be on this machine: a loopback literal or
    /// `localhost`. Any other name may resolve to anything.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The text is no `HOST:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, such as 127.0.0.1:8080 or app.internal:443")]
pub struct BadEndpoint;

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(BadEndpoint)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(BadEndpoint)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().map_err(|_| BadEndpoint)?.to_string(),
            None => host.to_owned(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if host.is_empty() || (bracketed.is_none() && !host.bytes().all(plain)) {
            return Err(BadEndpoint);
        }
        Ok(Self { host, port })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `ADDR=NAME`: connections to this address are requests for that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpMapping {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The name to route to.
    pub name: Name,
}

impl FromStr for TcpMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, name) =
            text.split_once('=').ok_or("expected ADDR=NAME, such as 0.0.0.0:5432=db.example")?;
        Ok(Self {
            addr: addr.parse().map_err(|_| format!("{addr:?} is not an IP:PORT"))?,
            name: Name::registered(name).map_err(|error| error.to_string())?,
        })
    }
}

/// `NAME=HOST:PORT`: this name is served by that backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The routing name, which may be a wildcard.
    pub name: Name,
    /// Where it is dialled.
    pub backend: Endpoint,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, backend) = text
            .split_once('=')
            .ok_or("expected NAME=HOST:PORT, such as app.example=127.0.0.1:8080")?;
        Ok(Self {
            name: Name::registered(name).map_err(|error| error.to_string())?,
            backend: backend.parse().map_err(|error: BadEndpoint| error.to_string())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_what_it_writes() {
        for text in ["app.internal:443", "127.0.0.1:8080", "[::1]:80"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "host", ":80", "host:0", "host:65536", "a b:1", "[x]:1", "::1:80"] {
            assert_eq!(text.parse::<Endpoint>(), Err(BadEndpoint), "{text:?}");
        }
    }

    #[test]
    fn mappings_say_what_they_expect() {
        assert!("0.0.0.0:1".parse::<TcpMapping>().unwrap_err().contains("ADDR=NAME"));
        assert!("x=db".parse::<TcpMapping>().unwrap_err().contains("\"x\""));
        assert!("app=nowhere".parse::<Service>().unwrap_err().contains("HOST:PORT"));
        let service: Service = "*.Example.org=10.0.0.1:80".parse().unwrap();
        assert_eq!(service.name.as_str(), "*.example.org");
    }
}
