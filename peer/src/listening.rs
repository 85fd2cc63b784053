//! The listening side of peers: what connecting peers meet, from their first line to the
//! end of their link.
//!
//! Nothing here may know the connecting side or the public side.

mod handshake;
mod link;
mod open;
mod pace;
mod successor;

pub use handshake::PeerConnection;
pub use successor::take_back;
