//! Out through a proxy: it is dialled, and asked to connect to a listening peer. What comes
//! behind its answer is that peer's, TLS included.
//!
//! Names are the proxy's to resolve, with every scheme: where a peer needs a proxy, its own
//! resolver often knows nothing of the world behind it.

mod answer;
mod connect;
mod dial;
mod error;
mod socks;

pub use dial::dial_via;
pub use error::ViaError;
