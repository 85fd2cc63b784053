//! What the two ends of a request stand on: a network, and who follows the run on it.
//!
//! Clients and backends are the same on the simulated network and on the real one. Nothing
//! here may know either.

use std::time::Duration;

use ops_proxy::stream::net::Net;

/// The network as one host sees it, and the run that the host is part of.
pub trait Ground: Net {
    /// Time since the start of the run.
    fn elapsed(&self) -> Duration;

    /// Somebody saw what must not happen.
    fn wrong(&self, what: String);

    /// A request is over, and how.
    fn over(&self, outcome: String);

    /// A task of this host, as it runs here. The default does nothing to it.
    fn watched<T: Future>(&self, task: T) -> impl Future<Output = T::Output> + use<T, Self> {
        task
    }
}
