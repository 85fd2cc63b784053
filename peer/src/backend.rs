//! The backends of this peer's own services: dialled for a request, which may come from
//! this peer's public side or from a listening peer. No address from the wire is dialled.

mod connect;
pub mod health;
mod proxy_header;
mod udp;

pub use connect::connect_backend;
pub use udp::{connect_datagrams, refused_datagrams};
