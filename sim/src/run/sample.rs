//! Metrics over time, for a recorded run.

use std::time::Duration;

use ops_proxy::observe::metrics::{NameRow, Snapshot};

/// Some metrics of one listening peer at one moment, all names together.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// The peer.
    pub peer: String,
    /// What [`Sample::METRICS`] names, in that order.
    pub values: [u64; Sample::METRICS.len()],
}

impl Sample {
    /// What is sampled.
    pub const METRICS: [&str; 6] = [
        "clients_connected",
        "connections_active",
        "pending_data_connections",
        "requests_total",
        "requests_failed_total",
        "connections_bytes_rx_total",
    ];

    /// What these numbers say.
    pub(super) fn take(at: Duration, peer: &str, snapshot: &Snapshot) -> Self {
        let sum = |of: fn(&NameRow) -> u64| snapshot.names.iter().map(of).sum();
        let values = [
            sum(|row| u64::from(!row.providers.is_empty())),
            sum(|row| row.counts.active),
            snapshot.pending,
            sum(|row| row.counts.requests_in_all().0),
            sum(|row| row.counts.requests_in_all().2),
            sum(|row| row.counts.bytes_rx),
        ];
        Self { at, peer: peer.to_owned(), values }
    }
}
