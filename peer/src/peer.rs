//! A whole peer: binds, connects, serves, drains.

mod drain;
mod handle;
mod run;
mod upkeep;

pub use handle::{Expecting, PeerHandle, Sockets};
pub use run::{Peer, RunError, StartError};
