//! The public side: what clients meet. A connection is accepted, classified, routed to a
//! provider, and carried to its end, or refused in its own protocol.
//!
//! Nothing here may know the connecting side, files, flags or the environment. Peers that
//! arrive are handed to the [listening side](crate::listening).

mod ahead;
mod carry;
mod connection;
mod edge;
mod http2;
mod listener;
mod refusal;
mod stretch;
mod udp;

pub use connection::Port;
pub use listener::accept_loop;
pub use udp::datagram_loop;
