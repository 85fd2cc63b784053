//! Where the demo runs: sockets of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// Loopback, with a port that the system chooses.
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A connection of the real network.
pub(super) type Stream = <TokioNet as Net>::Stream;
