//! What a public client asks for.

use std::net::SocketAddr;

use crate::names::Name;
use crate::observe::metrics::Protocol;

/// A public client's request, as far as it is known when it is routed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name that it asks for.
    pub name: &'a Name,
    /// How it came.
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// The address that it connected to, where it is known.
    pub dest: Option<SocketAddr>,
    /// Its bytes that were read already.
    pub head: &'a [u8],
}
