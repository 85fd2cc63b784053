//! The configuration of a peer, after all sources have been merged and checked.
//!
//! Nothing here may read a flag, the environment or a file: only
//! [`cli`](crate::cli) does.

mod capacity;
mod endpoint;
mod error;
mod files;
mod health;
mod namespace;
mod no_proxy;
mod peer;
mod proxies;
mod service;
mod timing;
mod upstream;
mod via;

pub use capacity::Capacity;
pub use endpoint::{BadEndpoint, Endpoint, PortMapping};
pub use error::ConfigError;
pub use files::{TlsConfig, TokenSource};
pub use health::{BadExpect, Expect, Health, Probe};
pub use namespace::{BadNamespace, Namespace};
pub use no_proxy::NoProxy;
pub use peer::PeerConfig;
pub use proxies::Proxies;
pub use service::{ProxyVersion, Service};
pub use timing::Timing;
pub use upstream::{BadUpstream, Upstream};
pub use via::{BadVia, Login, Via, ViaScheme};
