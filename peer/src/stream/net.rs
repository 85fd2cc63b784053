//! The seam between the peer and its network.
//!
//! The peer is generic over [`Net`] and names no real socket: the same code runs
//! on tokio's sockets ([`tokio::TokioNet`]) and inside a simulated network. What
//! differs between networks, and nothing else, stands here: listening, dialling,
//! name resolution, resetting a connection, entropy, the wall clock, and the files
//! of TLS. All other time is `tokio::time` on both.

mod seam;
pub mod tokio;

pub use seam::{Datagrams, Listener, Net};
