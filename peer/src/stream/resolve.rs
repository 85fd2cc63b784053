//! Names to addresses, for all that a peer dials.
//!
//! The network looks names up with the system's resolver, which blocks a thread for
//! as long as DNS is silent and tells no lifetime. So all dials of a peer share their
//! lookups: a host has one under way, whoever asks in the meantime waits for it, and
//! its answer is kept for a moment. A lookup belongs to the [`Resolver`], not to who
//! asked first: who gives up takes nothing away from the others.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answers::{Answer, Answers, Asked, Found, Lookup};
use crate::lock::Lock;
use crate::stream::net::Net;

/// Looks names up for one peer. Dropping it ends its lookups.
#[derive(Debug)]
pub struct Resolver<N> {
    net: N,
    known: Arc<Known>,
    lookups: Lock<JoinSet<()>>,
}

/// The addresses of a host, at least one, in the order in which to try them.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The addresses.
    pub ips: Arc<[IpAddr]>,
    /// When they were found.
    pub at: Instant,
}

/// What lookups leave behind, and who waits for it.
#[derive(Debug)]
struct Known(Lock<Board>);

#[derive(Debug, Default)]
struct Board {
    answers: Answers,
    /// Who waits for a lookup, by host.
    waiting: BTreeMap<String, Arc<Notify>>,
    /// Who waits until another lookup may begin.
    room: Arc<Notify>,
}

impl<N: Net> Resolver<N> {
    /// Knows nothing yet.
    pub fn new(net: N) -> Self {
        let known = Arc::new(Known(Lock::new("the known addresses", Board::default())));
        Self { net, known, lookups: Lock::new("the lookups", JoinSet::new()) }
    }

    /// The network that it looks names up on.
    pub fn net(&self) -> &N {
        &self.net
    }

    /// The addresses of `host`: found a moment ago, or now. Has no deadline of its own:
    /// the caller sets one. Cancel safe.
    ///
    /// # Errors
    /// The resolver's own; [`TimedOut`](io::ErrorKind::TimedOut) at once where lookups of
    /// this host have been without an answer for long.
    pub async fn addresses(&self, host: &str) -> Result<Addresses, Arc<io::Error>> {
        if let Ok(ip) = host.parse() {
            return Ok(Addresses { ips: Arc::new([ip]), at: Instant::now() });
        }
        loop {
            let waiting = {
                let mut board = self.known.board();
                match board.answers.ask(host, Instant::now()) {
                    Asked::Known(Answer { found, at }) => {
                        return found.map(|ips| Addresses { ips, at });
                    }
                    Asked::Wait => board.wait_for(host),
                    Asked::Begin(lookup) => {
                        self.begin(host, lookup);
                        board.wait_for(host)
                    }
                    Asked::Full => board.room.clone(),
                }
                // What ends from here on is heard of.
                .notified_owned()
            };
            waiting.await;
        }
    }

    /// Nobody answered at any of these addresses of `host`: whoever asks next is to look
    /// it up again.
    pub fn forget(&self, host: &str, addresses: &Addresses) {
        self.known.board().answers.forget(host, &addresses.ips);
    }

    fn begin(&self, host: &str, lookup: Lookup) {
        let (known, host) = (self.known.clone(), host.to_owned());
        let mut running = Running { known, host, lookup, found: None };
        let net = self.net.clone();
        let mut lookups = self.lookups.lock();
        while lookups.try_join_next().is_some() {}
        lookups.spawn(self.net.scheduled(async move {
            // The port is none of DNS's business.
            let found = net.resolve(&running.host, 0).await;
            running.found(found);
        }));
    }
}

impl Known {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock()
    }
}

impl Board {
    fn wait_for(&mut self, host: &str) -> Arc<Notify> {
        if let Some(waiting) = self.waiting.get(host) {
            return waiting.clone();
        }
        self.waiting.entry(host.to_owned()).or_default().clone()
    }
}

/// A lookup under way. Dropped, it has ended.
struct Running {
    known: Arc<Known>,
    host: String,
    lookup: Lookup,
    /// What it came to; nothing, if it was ended with its task.
    found: Option<Found>,
}

impl Running {
    fn found(&mut self, found: io::Result<Vec<SocketAddr>>) {
        self.found = Some(match found {
            Ok(addresses) if addresses.is_empty() => {
                let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                Err(Arc::new(error))
            }
            Ok(addresses) => Ok(addresses.iter().map(SocketAddr::ip).collect()),
            Err(error) => Err(Arc::new(error)),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = || Err(Arc::new(io::ErrorKind::Interrupted.into()));
        let found = self.found.take().unwrap_or_else(ended);
        let mut board = self.known.board();
        board.answers.end(&self.host, self.lookup, found, Instant::now());
        if let Some(waiting) = board.waiting.remove(&self.host) {
            waiting.notify_waiters();
        }
        board.room.notify_waiters();
    }
}
