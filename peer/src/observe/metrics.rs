//! Everything that `/metrics` tells.
//!
//! Names, labels, types and help of the contract's families stand in one table
//! ([`families`]). Gauges are not kept: they are read from the routes and the
//! pending ids at the moment of the scrape, so they cannot drift. What changes
//! together is counted under one lock per name ([`NameStats`]), so a scrape sees
//! `requests = success + failed + active` at every moment.

mod exemplars;
mod families;
mod format;
mod kubernetes;
mod name_stats;
mod open_metrics;
mod page;
mod read_counter;
mod reasons;
mod registry;
mod reloads;
mod series;
mod served;
mod snapshot;

pub use format::Format;
pub use kubernetes::KubernetesServices;
pub use name_stats::{Counts, NameStats, PerProtocol};
pub use page::Page;
pub use reasons::{
    CheckResult, ClientFailure, DatagramLoss, ForwardFailure, HttpCode, IdleResult, Incident,
    LogReason, Protocol, ProxyError, Rejection, ServiceRefusal,
};
pub use registry::Metrics;
pub use reloads::ConfigReloads;
pub use served::{Served, ServedStats};
pub use snapshot::{NameRow, Snapshot};
