//! One routed request, which ends exactly once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::Exchange;
use crate::names::{Name, ProxyId};
use crate::observe::access::{Access, AccessLog, Outcome, Provided};
use crate::observe::metrics::{DatagramLoss, Metrics, NameStats, Protocol, ProxyError};
use crate::offer::Way;
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
    sent: AtomicU64,
    received: AtomicU64,
    /// From routing to the first byte of the backend.
    first_byte: OnceLock<Duration>,
    story: Option<Box<Story>>,
    ended: bool,
}

/// What the access log tells of a request beside its numbers.
#[derive(Debug)]
pub struct Story {
    /// Who takes it.
    pub log: Arc<dyn AccessLog>,
    /// The request's id.
    pub id: ProxyId,
    /// The client.
    pub client: SocketAddr,
    /// What was asked for.
    pub name: Name,
    /// How.
    pub way: Way,
    /// Its HTTP requests are told of one by one, and it is not.
    pub by_request: bool,
    /// Who serves it.
    pub provider: Provided,
}

impl Story {
    /// One that went well and took no time, to be completed.
    fn access(&self) -> Access {
        Access {
            id: Some(self.id),
            number: None,
            client: Some(self.client),
            name: Some(self.name.clone()),
            way: Some(self.way),
            line: None,
            status: None,
            sent: 0,
            received: 0,
            duration: Duration::ZERO,
            first_byte: None,
            provider: Some(self.provider.clone()),
            outcome: Outcome::Ok,
            reason: None,
        }
    }
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
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            first_byte: OnceLock::new(),
            story: None,
            ended: false,
        }
    }

    /// Has the access log told of it.
    pub fn tell(&mut self, story: Story) {
        self.story = Some(Box::new(story));
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
        let duration = self.routed.elapsed();
        self.metrics.request_ended(self.protocol, duration);
        if let Some(story) = self.story.as_ref().filter(|story| !story.by_request) {
            story.log.take(Access {
                sent: self.sent.load(Relaxed),
                received: self.received.load(Relaxed),
                duration,
                first_byte: self.first_byte.get().copied(),
                outcome: if failure.is_none() { Outcome::Ok } else { Outcome::Failed },
                reason: failure.map(ProxyError::as_str),
                ..story.access()
            });
        }
    }
}

impl Meter for Request {
    fn sent(&self, bytes: usize) {
        self.stats.sent(bytes);
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.stats.received(bytes);
        self.received.fetch_add(bytes as u64, Relaxed);
        if self.first_byte.get().is_none() {
            let latency = *self.first_byte.get_or_init(|| self.routed.elapsed());
            self.stats.first_byte(self.protocol, latency);
        }
    }

    fn lost(&self, datagrams: usize) {
        self.metrics.datagrams_lost(DatagramLoss::Unsendable, datagrams);
    }

    fn exchanged(&self, exchange: Exchange) {
        let duration = exchange.ended - exchange.asked;
        self.metrics.exchanged(&self.stats, exchange.status, duration);
        let Some(story) = self.story.as_ref().filter(|story| story.way == Way::Http) else {
            return;
        };
        let Exchange { line, number, status, sent, received, asked, answered, .. } = exchange;
        story.log.take(Access {
            number: Some(number),
            line,
            status,
            sent,
            received,
            duration,
            first_byte: answered.map(|answered| answered - asked),
            outcome: if exchange.is_whole { Outcome::Ok } else { Outcome::Failed },
            reason: (!exchange.is_whole).then(|| ProxyError::DataIoError.as_str()),
            ..story.access()
        });
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
