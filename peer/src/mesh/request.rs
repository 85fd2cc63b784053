//! One routed request, which ends exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::time::Instant;

use crate::http::Exchange;
use crate::observe::metrics::{Metrics, NameStats, Protocol, ProxyError};
use crate::stream::relay::Meter;

/// A request from the moment it was routed. It ends by
/// [`succeeded`](Self::succeeded) or [`failed`](Self::failed); one that is
/// dropped before, with its task, has failed.
#[derive(Debug)]
pub struct Request {
    stats: Arc<NameStats>,
    metrics: Arc<Metrics>,
    protocol: Protocol,
    routed: Instant,
    answered: AtomicBool,
    ended: bool,
}

impl Request {
    /// A request was routed to a live provider of the name of `stats`.
    pub fn begin(metrics: Arc<Metrics>, stats: Arc<NameStats>, protocol: Protocol) -> Self {
        stats.request_began(protocol);
        Self {
            stats,
            metrics,
            protocol,
            routed: Instant::now(),
            answered: AtomicBool::new(false),
            ended: false,
        }
    }

    /// Both directions were closed cleanly.
    pub fn succeeded(mut self) {
        self.end(None);
    }

    /// It ended any other way.
    pub fn failed(mut self, reason: ProxyError) {
        self.end(Some(reason));
    }

    fn end(&mut self, failure: Option<ProxyError>) {
        self.ended = true;
        match failure {
            None => self.stats.request_succeeded(self.protocol),
            Some(reason) => self.stats.request_failed(self.protocol, reason),
        }
        self.metrics.request_ended(self.protocol, self.routed.elapsed());
    }
}

impl Meter for Request {
    fn sent(&self, bytes: usize) {
        self.stats.sent(bytes);
    }

    fn received(&self, bytes: usize) {
        self.stats.received(bytes);
        if !self.answered.swap(true, Relaxed) {
            self.stats.first_byte(self.protocol, self.routed.elapsed());
        }
    }

    fn exchanged(&self, exchange: Exchange) {
        let duration = exchange.ended - exchange.asked;
        self.metrics.exchanged(&self.stats, exchange.status, duration);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some(ProxyError::DataIoError));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerConfig;

    #[tokio::test]
    async fn every_way_to_end_is_counted_once() {
        let metrics = Arc::new(Metrics::new(&PeerConfig::new("p".parse().unwrap())));
        let stats = Arc::new(NameStats::default());
        let begin = || Request::begin(metrics.clone(), stats.clone(), Protocol::Tcp);
        begin().succeeded();
        begin().failed(ProxyError::LinkLost);
        drop(begin());
        let running = begin();
        running.received(1);
        running.received(2);
        let counts = stats.snapshot();
        assert_eq!(counts.requests_in_all(), (4, 1, 2));
        assert_eq!((counts.active, counts.bytes_rx), (1, 3));
        assert_eq!(counts.requests[Protocol::Tcp as usize].latency_count, 1);
        assert_eq!(counts.errors.iter().sum::<u64>(), 2, "one error per failed request");
    }
}
