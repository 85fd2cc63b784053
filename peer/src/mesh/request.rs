//! One routed request, which ends exactly once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::Exchange;
use crate::names::{Name, ProxyId};
use crate::observe::access::{Access, AccessLog, Outcome, Provided};
use crate::observe::journal::{Failure, Running};
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
    /// Known to operators from routing to its end.
    running: Running,
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
    pub fn begin(
        metrics: Arc<Metrics>,
        stats: Arc<NameStats>,
        protocol: Protocol,
        running: Running,
    ) -> Self {
        stats.request_began(protocol);
        Self { stats, metrics, protocol, running, story: None, ended: false }
    }

    /// As operators see it.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Has the access log told of it.
    pub fn tell(&mut self, story: Story) {
        self.story = Some(Box::new(story));
    }

    /// Both directions were closed cleanly.
    pub fn succeeded(mut self) {
        self.end(None, None);
    }

    /// It ended any other way.
    pub fn failed(mut self, reason: ProxyError) {
        self.end(Some(reason), None);
    }

    /// It ended any other way, of which the provider has said this.
    pub fn failed_as(mut self, reason: ProxyError, detail: Option<&'static str>) {
        self.end(Some(reason), detail);
    }

    fn end(&mut self, failure: Option<ProxyError>, detail: Option<&'static str>) {
        self.ended = true;
        match failure {
            None => self.stats.request_succeeded(self.protocol),
            Some(reason) => self.stats.request_failed(self.protocol, reason),
        }
        let told = failure.map(|reason| Failure { detail, ..reason.into() });
        let duration = self.running.end(told);
        self.metrics.request_ended(self.running.known.id, self.protocol, duration);
        if let Some(story) = self.story.as_ref().filter(|story| !story.by_request) {
            story.log.take(Access {
                sent: self.running.sent(),
                received: self.running.received(),
                duration,
                first_byte: self.running.first_byte(),
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
        self.running.add_sent(bytes);
    }

    fn received(&self, bytes: usize) {
        self.stats.received(bytes);
        if let Some(latency) = self.running.add_received(bytes) {
            self.stats.first_byte(self.protocol, latency);
        }
    }

    fn lost(&self, datagrams: usize) {
        self.metrics.datagrams_lost(DatagramLoss::Unsendable, datagrams);
    }

    fn exchanged(&self, exchange: Exchange) {
        let duration = exchange.ended - exchange.asked;
        let id = Some(self.running.known.id);
        self.metrics.exchanged(id, &self.stats, exchange.status, duration);
        self.running.add_exchange(exchange.status);
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
            self.end(Some(ProxyError::DataIoError), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerConfig;
    use crate::observe::journal::{Journal, Kind, Known, ServedBy};

    #[tokio::test]
    async fn every_way_to_end_is_counted_once() {
        let metrics = Arc::new(Metrics::new(&PeerConfig::new("p".parse().unwrap())));
        let stats = Arc::new(NameStats::default());
        let journal = Arc::new(Journal::default());
        let known = || Known {
            kind: Kind::Routed,
            id: ProxyId::from_random([1; 16]),
            client: "192.0.2.1:4711".parse().unwrap(),
            name: "app".parse().unwrap(),
            way: Way::Tcp,
            by: ServedBy::Local,
            asked_by: None,
            span: None,
        };
        let begin = || {
            let running = journal.begin(known());
            Request::begin(metrics.clone(), stats.clone(), Protocol::Tcp, running)
        };
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
        assert_eq!((journal.ended(9).len(), journal.troubles().len()), (3, 2));
    }
}
