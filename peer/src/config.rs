//! The configuration of a peer, after all sources have been merged and checked.
//!
//! Nothing here may read a flag, the environment or a file: only
//! [`cli`](crate::cli) does.

mod capacity;
mod endpoint;
mod error;
mod files;
mod peer;
mod service;
mod timing;

pub use capacity::Capacity;
pub use endpoint::{BadEndpoint, Endpoint, PortMapping};
pub use error::ConfigError;
pub use files::{TlsConfig, TokenSource};
pub use peer::PeerConfig;
pub use service::{ProxyVersion, Service};
pub use timing::Timing;
