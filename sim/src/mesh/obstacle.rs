//! What is in the way between two hosts.

use std::net::IpAddr;

/// Why the way between two hosts is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Everything waits.
    Held,
    /// Everything is lost.
    Cut,
    /// What this one sends is lost.
    Lost(IpAddr),
}
