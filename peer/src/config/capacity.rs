//! The limits that an operator may set.

use super::error::ConfigError;
use crate::limits::{
    CONNECTIONS, CONNECTIONS_PER_SOURCE, NAMES_PER_LINK, PENDING_PER_LINK, UDP_REQUESTS,
};

/// The limits that an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Public connections served at a time.
    pub connections: usize,
    /// Connections from one source (an IPv4 address or an IPv6 /64) that are public
    /// or not classified yet.
    pub connections_per_source: usize,
    /// Names that one peer may register.
    pub names_per_peer: usize,
    /// Requests that may wait for DATA connections of one peer.
    pub pending_per_peer: usize,
    /// Requests at a time over one UDP port; [a part](crate::limits::UDP_SOURCE_SHARE) of them
    /// from one source.
    pub udp_requests: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            connections_per_source: CONNECTIONS_PER_SOURCE,
            names_per_peer: NAMES_PER_LINK,
            pending_per_peer: PENDING_PER_LINK,
            udp_requests: UDP_REQUESTS,
        }
    }
}

impl Capacity {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, limit) in [
            ("max_connections", self.connections),
            ("max_connections_per_source", self.connections_per_source),
            ("max_names_per_peer", self.names_per_peer),
            ("max_pending_per_peer", self.pending_per_peer),
            ("max_udp_requests", self.udp_requests),
        ] {
            if limit == 0 {
                return Err(ConfigError::new(key, "must be at least 1"));
            }
        }
        Ok(())
    }
}
