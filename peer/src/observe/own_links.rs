//! The links of this peer to listening peers, as an operator sees them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::names::PeerId;

/// All that are open.
#[derive(Debug, Clone, Default)]
pub struct OwnLinks(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    links: BTreeMap<u64, Arc<OwnLink>>,
    opened: u64,
}

/// One of them. Its task keeps it up to date.
#[derive(Debug)]
pub struct OwnLink {
    /// What was configured, and which address of it.
    pub upstream: String,
    /// The other end of the connection; a proxy, where one is used.
    pub remote: Option<SocketAddr>,
    /// When it was opened.
    pub since: Instant,
    hub: OnceLock<PeerId>,
    names: AtomicUsize,
    idle: AtomicUsize,
    /// In microseconds; 0 before there was one.
    round_trip: AtomicU64,
}

/// Keeps a link listed until dropped.
#[derive(Debug)]
pub struct Listed {
    all: OwnLinks,
    place: u64,
    link: Arc<OwnLink>,
}

impl OwnLinks {
    /// A link to `upstream` was opened.
    pub fn opened(&self, upstream: String, remote: Option<SocketAddr>) -> Listed {
        let link = Arc::new(OwnLink {
            upstream,
            remote,
            since: Instant::now(),
            hub: OnceLock::new(),
            names: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            round_trip: AtomicU64::new(0),
        });
        let mut open = self.open();
        open.opened += 1;
        let place = open.opened;
        open.links.insert(place, link.clone());
        drop(open);
        Listed { all: self.clone(), place, link }
    }

    /// Those that are open, the oldest first.
    pub fn all(&self) -> Vec<Arc<OwnLink>> {
        self.open().links.values().cloned().collect()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        let Self(open) = self;
        // Nothing depends on what a panic may have left half changed.
        open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnLink {
    /// The listening peer, once it has said who it is.
    pub fn hub(&self) -> Option<&PeerId> {
        self.hub.get()
    }

    /// How many names are said on it.
    pub fn names(&self) -> usize {
        self.names.load(Relaxed)
    }

    /// How many DATA connections of it wait for a request.
    pub fn idle(&self) -> usize {
        self.idle.load(Relaxed)
    }

    /// From the last heartbeat to its answer.
    pub fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip.load(Relaxed);
        (micros > 0).then(|| micros_to_time(micros))
    }
}

const fn micros_to_time(micros: u64) -> Duration {
    Duration::new(micros / 1_000_000, (micros % 1_000_000) as u32 * 1_000)
}

impl Listed {
    /// The listening peer has said who it is.
    pub fn answered(&self, hub: PeerId) {
        // It says so once.
        let _ = self.link.hub.set(hub);
    }

    /// So many names are said, and so many DATA connections wait.
    pub fn has(&self, names: usize, idle: usize) {
        self.link.names.store(names, Relaxed);
        self.link.idle.store(idle, Relaxed);
    }

    /// A heartbeat was answered after this time.
    pub fn round_trip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.link.round_trip.store(micros.max(1), Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.open().links.remove(&self.place);
    }
}
