//! What is kept of one request while it runs, and for a while afterwards.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use once_cell::race::OnceBox;
use tokio::time::Instant;

use crate::names::{Name, PeerId, ProxyId};
use crate::observe::metrics::{ClientFailure, ProxyError};
use crate::offer::Way;
use crate::trace_context::Span;
use crate::words::words;

words! {
    /// What a peer does with a request.
    Kind {
        /// It routes it to a provider.
        Routed = "routed",
        /// It serves it with a backend of its own, for a listening peer.
        Served = "served",
    }
}

/// Who is to serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServedBy {
    /// A backend of this very peer.
    Local,
    /// The peer of this id.
    Peer(PeerId),
    /// A listening peer that is asked to route it.
    Upstream,
}

/// What is known of a request from its beginning.
#[derive(Debug, Clone)]
pub struct Known {
    /// What this peer does with it.
    pub kind: Kind,
    /// Its id.
    pub id: ProxyId,
    /// The client.
    pub client: SocketAddr,
    /// What was asked for; where that is registered as it stands, the text is shared with it,
    /// for the journal keeps it.
    pub name: Name,
    /// How.
    pub way: Way,
    /// Who is to serve it.
    pub by: ServedBy,
    /// The listening peer that asked for it, if one did and has said who it is.
    /// Boxed, as all that a routed request has not: idle connections are many.
    pub asked_by: Option<Box<PeerId>>,
    /// What it is in its trace, where this peer traces. Boxed, for most do not.
    pub span: Option<Box<Span>>,
}

/// Why a request did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// As it is counted.
    pub reason: &'static str,
    /// What the other peer has said, where that tells more.
    pub detail: Option<&'static str>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// From its beginning.
    pub after: Duration,
    /// If it did not end well.
    pub failure: Option<Failure>,
}

/// One request.
#[derive(Debug)]
pub struct Record {
    /// From its beginning on.
    pub known: Known,
    began: Instant,
    /// The second provider, and the id that it knows the request by. Boxed, like all that few
    /// requests have: idle connections are many.
    again: OnceBox<(ProxyId, ServedBy)>,
    /// The listening peer that has taken it.
    hub: OnceBox<PeerId>,
    connected: Mark,
    first_byte: Mark,
    sent: AtomicU64,
    received: AtomicU64,
    exchanges: AtomicU64,
    /// Of the last answer; 0 before there was one.
    status: AtomicU16,
    after: Mark,
    failure: OnceBox<Failure>,
}

/// A time that is known once, in a third of the space of a lock.
#[derive(Debug, Default)]
struct Mark(AtomicU64);

impl Mark {
    fn get(&self) -> Option<Duration> {
        self.0.load(Relaxed).checked_sub(1).map(Duration::from_nanos)
    }

    /// Whether it was not known before.
    fn set(&self, time: Duration) -> bool {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        self.0.compare_exchange(0, nanos, Relaxed, Relaxed).is_ok()
    }
}

impl From<ProxyError> for Failure {
    fn from(reason: ProxyError) -> Self {
        Self { reason: reason.as_str(), detail: None }
    }
}

impl From<ClientFailure> for Failure {
    fn from(reason: ClientFailure) -> Self {
        Self { reason: reason.as_str(), detail: None }
    }
}

impl Record {
    pub(super) fn new(known: Known) -> Self {
        Self {
            known,
            began: Instant::now(),
            again: OnceBox::new(),
            hub: OnceBox::new(),
            connected: Mark::default(),
            first_byte: Mark::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            status: AtomicU16::new(0),
            after: Mark::default(),
            failure: OnceBox::new(),
        }
    }

    /// What it is at this moment.
    pub(super) fn copy(&self) -> Self {
        let count = |counter: &AtomicU64| AtomicU64::new(counter.load(Relaxed));
        Self {
            known: self.known.clone(),
            began: self.began,
            again: self.again.clone(),
            hub: self.hub.clone(),
            connected: Mark(count(&self.connected.0)),
            first_byte: Mark(count(&self.first_byte.0)),
            sent: count(&self.sent),
            received: count(&self.received),
            exchanges: count(&self.exchanges),
            status: AtomicU16::new(self.status.load(Relaxed)),
            after: Mark(count(&self.after.0)),
            failure: self.failure.clone(),
        }
    }

    /// Whether this is one of its ids.
    pub fn is(&self, id: ProxyId) -> bool {
        self.known.id == id || self.again.get().is_some_and(|again| again.0 == id)
    }

    /// The id that its provider knows it by.
    pub fn id(&self) -> ProxyId {
        self.again.get().map_or(self.known.id, |again| again.0)
    }

    /// Who serves it, or was to.
    pub fn by(&self) -> ServedBy {
        let by = self.again.get().map_or(&self.known.by, |again| &again.1);
        match (by, self.hub.get()) {
            (ServedBy::Upstream, Some(hub)) => ServedBy::Peer(hub.clone()),
            _ => by.clone(),
        }
    }

    /// The provider that was tried first and failed, and the id that it knew, if a second was
    /// tried.
    pub fn first_tried(&self) -> Option<(ProxyId, &ServedBy)> {
        self.again.get().map(|_| (self.known.id, &self.known.by))
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// From its beginning to when its provider was ready for it.
    pub fn connected(&self) -> Option<Duration> {
        self.connected.get()
    }

    /// From its beginning to the first byte of the backend.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get()
    }

    /// Payload bytes, client to backend.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Payload bytes, backend to client.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// How many HTTP requests within it have ended.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }

    /// The status of the last HTTP answer.
    pub fn status(&self) -> Option<u16> {
        Some(self.status.load(Relaxed)).filter(|status| *status > 0)
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        let failure = self.failure.get().copied();
        self.after.get().map(|after| End { after, failure })
    }

    /// It has ended, now; how long it lasted, and whether it had not ended before.
    pub(super) fn ends(&self, failure: Option<Failure>) -> (Duration, bool) {
        let after = self.began.elapsed();
        if self.after.get().is_some() {
            return (after, false);
        }
        // Before its end can be seen.
        if let Some(failure) = failure {
            let _ = self.failure.set(Box::new(failure));
        }
        (after, self.after.set(after))
    }

    /// A second provider is tried, under another id.
    pub fn tried_again(&self, id: ProxyId, by: ServedBy) {
        // No third is.
        let _ = self.again.set(Box::new((id, by)));
    }

    /// Its provider is ready for it; `hub` is the listening peer that has taken it.
    pub fn is_connected(&self, hub: Option<PeerId>) {
        self.connected.set(self.began.elapsed());
        if let Some(hub) = hub {
            // No other does.
            let _ = self.hub.set(Box::new(hub));
        }
    }

    /// So many payload bytes went from the client to the backend.
    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// So many went from the backend to the client. The time of the first of them, if it was.
    pub fn add_received(&self, bytes: usize) -> Option<Duration> {
        self.received.fetch_add(bytes as u64, Relaxed);
        if self.first_byte.get().is_some() {
            return None;
        }
        let latency = self.began.elapsed();
        self.first_byte.set(latency).then_some(latency)
    }

    /// An HTTP request within it has ended, with this status if it was answered.
    pub fn add_exchange(&self, status: Option<u16>) {
        self.exchanges.fetch_add(1, Relaxed);
        if let Some(status) = status {
            self.status.store(status, Relaxed);
        }
    }
}
