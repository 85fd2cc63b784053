//! Addresses as an operator writes them: backends, listening peers, mapped ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::names::Name;

/// `HOST:PORT`; the host is resolved when it is dialled, and again after a few seconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A host name or an IP literal, IPv6 without brackets.
    pub host: String,
    /// A port other than 0.
    pub port: u16,
}

impl Endpoint {
    /// Whether this is certainly on this machine: a loopback literal or
    /// `localhost`. Any other name may resolve to anything.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The text is not a `HOST:PORT`.
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

/// `ADDR=NAME`: connections to this address are requests for that name; so are datagrams,
/// where it is an address of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The name to route to.
    pub name: Name,
}

impl FromStr for PortMapping {
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
        assert!("0.0.0.0:1".parse::<PortMapping>().unwrap_err().contains("ADDR=NAME"));
        assert!("x=db".parse::<PortMapping>().unwrap_err().contains("\"x\""));
    }
}
