//! The counters of one routing name.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::reasons::{ForwardFailure, HttpCode, Protocol, ProxyError};
use crate::lock::Lock;

/// The counts of a name at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// REGISTER refreshes.
    pub registrations: u64,
    /// Providers that went.
    pub disconnects: u64,
    /// Requests routed and not yet finished.
    pub active: u64,
    /// By protocol, in the order of [`Protocol::ALL`].
    pub requests: [PerProtocol; Protocol::ALL.len()],
    /// HTTP requests that have ended, in the order of [`HttpCode::ALL`].
    pub exchanges: [u64; HttpCode::ALL.len()],
    /// FORWARD lines written.
    pub forwards: u64,
    /// FORWARDs answered by DATA.
    pub matched: u64,
    /// FORWARDs that nothing answered in time.
    pub timed_out: u64,
    /// FORWARDs that failed, in the order of [`ForwardFailure::ALL`].
    pub forwards_failed: [u64; ForwardFailure::ALL.len()],
    /// In the order of [`ProxyError::ALL`].
    pub errors: [u64; ProxyError::ALL.len()],
    /// Payload bytes, public client to backend.
    pub bytes_tx: u64,
    /// Payload bytes, backend to public client.
    pub bytes_rx: u64,
}

/// The requests of one protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct PerProtocol {
    /// Routed.
    pub total: u64,
    /// Ended by a clean close both ways.
    pub success: u64,
    /// Ended any other way.
    pub failed: u64,
    /// Sum of the times to the first backend byte.
    pub latency_sum: Duration,
    /// How many requests had a first backend byte.
    pub latency_count: u64,
}

impl Counts {
    /// Requests of all protocols: routed, succeeded, failed.
    pub fn requests_in_all(&self) -> (u64, u64, u64) {
        self.requests.iter().fold((0, 0, 0), |(total, success, failed), one| {
            (total + one.total, success + one.success, failed + one.failed)
        })
    }
}

/// The counters of one name. Every method is one transition and makes all its changes
/// under one lock; bytes are counted without it.
#[derive(Debug)]
pub struct NameStats {
    counts: Lock<Counts>,
    bytes_tx: AtomicU64,
    bytes_rx: AtomicU64,
}

impl Default for NameStats {
    fn default() -> Self {
        Self {
            counts: Lock::new("the counters of a name", Counts::default()),
            bytes_tx: AtomicU64::default(),
            bytes_rx: AtomicU64::default(),
        }
    }
}

impl NameStats {
    /// All counters at one moment.
    pub fn snapshot(&self) -> Counts {
        let mut counts = self.with(|counts| counts.clone());
        counts.bytes_tx = self.bytes_tx.load(Relaxed);
        counts.bytes_rx = self.bytes_rx.load(Relaxed);
        counts
    }

    /// A REGISTER named it.
    pub fn registered(&self) {
        self.with(|counts| counts.registrations += 1);
    }

    /// A provider of it went.
    pub fn disconnected(&self) {
        self.with(|counts| counts.disconnects += 1);
    }

    /// A request was routed to a live provider.
    pub fn request_began(&self, protocol: Protocol) {
        self.with(|counts| {
            counts.active += 1;
            counts.requests[protocol as usize].total += 1;
        });
    }

    /// A routed request ended by a clean close both ways.
    pub fn request_succeeded(&self, protocol: Protocol) {
        self.with(|counts| {
            counts.active -= 1;
            counts.requests[protocol as usize].success += 1;
        });
    }

    /// A routed request ended any other way.
    pub fn request_failed(&self, protocol: Protocol, reason: ProxyError) {
        self.with(|counts| {
            counts.active -= 1;
            counts.requests[protocol as usize].failed += 1;
            counts.errors[reason as usize] += 1;
        });
    }

    /// A request found no live provider; it was never routed.
    pub fn no_client(&self) {
        self.with(|counts| counts.errors[ProxyError::NoClient as usize] += 1);
    }

    /// The first backend byte reached the public client.
    pub fn first_byte(&self, protocol: Protocol, latency: Duration) {
        self.with(|counts| {
            let requests = &mut counts.requests[protocol as usize];
            requests.latency_sum += latency;
            requests.latency_count += 1;
        });
    }

    /// An HTTP request ended.
    pub fn exchanged(&self, code: HttpCode) {
        self.with(|counts| counts.exchanges[code as usize] += 1);
    }

    /// A FORWARD was written.
    pub fn forward_written(&self) {
        self.with(|counts| counts.forwards += 1);
    }

    /// Its DATA connection came.
    pub fn data_matched(&self) {
        self.with(|counts| counts.matched += 1);
    }

    /// Its deadline came first.
    pub fn data_timed_out(&self) {
        self.with(|counts| counts.timed_out += 1);
    }

    /// It failed before either.
    pub fn forward_failed(&self, reason: ForwardFailure) {
        self.with(|counts| counts.forwards_failed[reason as usize] += 1);
    }

    /// Payload went from the public client to the backend.
    pub fn sent(&self, bytes: usize) {
        self.bytes_tx.fetch_add(bytes as u64, Relaxed);
    }

    /// Payload went from the backend to the public client.
    pub fn received(&self, bytes: usize) {
        self.bytes_rx.fetch_add(bytes as u64, Relaxed);
    }

    /// Whether a request of this name still runs.
    pub fn is_active(&self) -> bool {
        self.with(|counts| counts.active > 0)
    }

    fn with<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> R {
        change(&mut self.counts.lock())
    }
}
