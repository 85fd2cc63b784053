//! The listening peers that a peer connects to, as an operator writes them.

use std::fmt;
use std::str::FromStr;

use super::endpoint::Endpoint;
use crate::limits::LINKS_PER_UPSTREAM;

/// `HOST:PORT`: one link to each address of the host. `HOST:PORT*N`: links to N different
/// peers behind one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upstream {
    /// What is dialled, and whose certificate is asked for inside TLS.
    pub endpoint: Endpoint,
    /// How many different peers are behind it: 1 to [`LINKS_PER_UPSTREAM`]. Unset, each
    /// address that the host resolves to is one.
    pub peers: Option<usize>,
}

/// The text is neither form of an [`Upstream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected HOST:PORT, such as hub.example:8443, or HOST:PORT*N for links to N different peers \
     behind one address, with N from 1 to {LINKS_PER_UPSTREAM}"
)]
pub struct BadUpstream;

impl FromStr for Upstream {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        let (endpoint, peers) = text.split_once('*').unzip();
        let peers = peers.map(|peers| peers.parse().map_err(|_| BadUpstream)).transpose()?;
        if peers.is_some_and(|peers| !(1..=LINKS_PER_UPSTREAM).contains(&peers)) {
            return Err(BadUpstream);
        }
        let endpoint = endpoint.unwrap_or(text).parse().map_err(|_| BadUpstream)?;
        Ok(Self { endpoint, peers })
    }
}

impl From<Endpoint> for Upstream {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, peers: None }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peers {
            Some(peers) => write!(f, "{}*{peers}", self.endpoint),
            None => self.endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_reads_back_what_it_writes() {
        for text in ["hub.example:8443", "127.0.0.1:1*3", "[::1]:80*16", "hub:1*1"] {
            assert_eq!(text.parse::<Upstream>().unwrap().to_string(), text);
        }
        for text in ["hub", "hub:1*", "hub:1*0", "hub:1*17", "hub:1*3*3", "hub*3:1", "*3"] {
            assert_eq!(text.parse::<Upstream>(), Err(BadUpstream), "{text:?}");
        }
    }
}
