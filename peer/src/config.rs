//! What a peer is told to do, after all sources were merged and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::names::{Name, PeerId};

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
}

/// `HOST:PORT`; the host is resolved at each dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A host name or an IP literal, IPv6 without brackets.
    pub host: String,
    /// A port other than 0.
    pub port: u16,
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
