//! What this peer knows of its mesh: who serves which name, and which requests
//! wait for a DATA connection. Each change is made together with the metrics
//! that it means, so the two cannot part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::admission::Capacity;
use crate::auth::{Identity, Owner};
use crate::limits::FORWARDS_QUEUED_PER_LINK;
use crate::metrics::{ForwardFailure, Metrics, NameRow, NameStats, Snapshot};
use crate::names::{Name, PeerId, ProxyId};
use crate::pending::{Entry, Pending};
use crate::relay::Side;
use crate::routes::{Assigned, LinkId, Lookup, Provider, Routes, TooManyNames};
use crate::wire::{FailReason, Line};

/// A request that was given to a provider.
pub type Assignment = Assigned<Arc<NameStats>>;

/// Why a provider did not take a request. No byte has flowed yet, so another
/// provider may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The FORWARD could not be written.
    #[error("FORWARD could not be written")]
    NotWritten,
    /// The deadline came before the DATA connection.
    #[error("no DATA connection came in time")]
    Timeout,
    /// The provider cannot reach its backend.
    #[error("the provider failed: {0}")]
    Failed(FailReason),
    /// The link ended while the request waited.
    #[error("the link was lost")]
    LinkLost,
}

/// What a waiting request gets.
pub type Dialled<S> = Result<Side<S>, ForwardError>;

/// A FORWARD on its way to the writer of a link.
#[derive(Debug)]
pub struct Forward {
    /// The request's id.
    pub id: ProxyId,
    /// The line to be written.
    pub line: Line,
}

/// What the mesh keeps for a request that waits.
#[derive(Debug)]
struct Waiting<S> {
    name: Name,
    stats: Arc<NameStats>,
    since: Instant,
    reply: oneshot::Sender<Dialled<S>>,
}

/// What the mesh keeps for a link.
#[derive(Debug, Clone)]
struct LinkHandle {
    identity: Identity,
    forwards: mpsc::Sender<Forward>,
}

#[derive(Debug)]
struct Tables<S> {
    routes: Routes<Arc<NameStats>>,
    links: BTreeMap<LinkId, LinkHandle>,
    pending: Pending<Waiting<S>>,
    links_opened: u64,
}

/// The tables of one peer behind one lock, which is held for lookups only.
#[derive(Debug)]
pub struct Mesh<S> {
    tables: Mutex<Tables<S>>,
    metrics: Arc<Metrics>,
}

impl<S> Mesh<S> {
    /// A mesh that knows nothing but the names served by this very peer.
    pub fn new(
        metrics: Arc<Metrics>,
        capacity: Capacity,
        local: impl Iterator<Item = Name>,
    ) -> Self {
        let mut routes = Routes::new(capacity.names_per_peer);
        local.for_each(|name| routes.serve_locally(name));
        let tables = Tables {
            routes,
            links: BTreeMap::new(),
            pending: Pending::new(capacity.pending_per_peer),
            links_opened: 0,
        };
        Self { tables: Mutex::new(tables), metrics }
    }

    /// Takes in a link; an older one of the same owner is replaced at once. The
    /// FORWARD lines for the link come through the receiver; it closes when the
    /// link was replaced.
    pub fn open_link(&self, peer: PeerId, identity: Identity) -> (LinkId, mpsc::Receiver<Forward>) {
        let (forwards, receiver) = mpsc::channel(FORWARDS_QUEUED_PER_LINK);
        let mut tables = self.lock();
        tables.links_opened += 1;
        let link = LinkId(tables.links_opened);
        let replaced = tables.routes.open_link(link, Owner::new(peer, &identity));
        tables.links.insert(link, LinkHandle { identity, forwards });
        if let Some(old) = replaced {
            tables.close_link(old);
        }
        (link, receiver)
    }

    /// A link has ended: its names lose a provider, its waiting requests fail.
    /// Does nothing for a link that was replaced before.
    pub fn close_link(&self, link: LinkId) {
        self.lock().close_link(link);
    }

    /// Adds or refreshes names of a link and returns how many were taken.
    ///
    /// # Errors
    /// [`TooManyNames`], and nothing was registered.
    pub fn register(&self, link: LinkId, names: &[Name]) -> Result<usize, TooManyNames> {
        let taken = self.lock().routes.register(link, names)?;
        taken.iter().for_each(|stats| stats.registered());
        Ok(taken.len())
    }

    /// Withdraws names of a link and returns how many it had.
    pub fn unregister(&self, link: LinkId, names: &[Name]) -> usize {
        let had = self.lock().routes.unregister(link, names, Instant::now());
        had.iter().for_each(|stats| stats.disconnected());
        had.len()
    }

    /// Gives a request to a provider other than `tried`; see [`Routes::assign`].
    pub fn assign(&self, requested: &Name, tried: Option<Provider>) -> Lookup<Arc<NameStats>> {
        let tables = &mut *self.lock();
        let pending = &tables.pending;
        tables.routes.assign(requested, tried, |provider| match provider {
            Provider::Local => true,
            Provider::Link(link) => pending.has_room(link),
        })
    }

    /// An assigned request has ended.
    pub fn release(&self, assignment: &Assignment) {
        self.lock().routes.release(&assignment.name, assignment.provider);
    }

    /// Hands a FORWARD to a link. The request then waits on the receiver, until
    /// `deadline`, when it calls [`expire`](Self::expire).
    ///
    /// # Errors
    /// `LinkLost` when the link has just ended, `NotWritten` when its writer is
    /// too far behind.
    pub fn forward(
        &self,
        link: LinkId,
        assignment: &Assignment,
        forward: Forward,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Dialled<S>>, ForwardError> {
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting {
            name: assignment.name.clone(),
            stats: assignment.stats.clone(),
            since: Instant::now(),
            reply,
        };
        let id = forward.id;
        let mut tables = self.lock();
        let handle = tables.links.get(&link).cloned().ok_or(ForwardError::LinkLost)?;
        handle.forwards.try_send(forward).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ForwardError::NotWritten,
            mpsc::error::TrySendError::Closed(_) => ForwardError::LinkLost,
        })?;
        tables.pending.insert(id, link, handle.identity, deadline, waiting);
        Ok(receiver)
    }

    /// The FORWARD line of this id has been written.
    pub fn forward_written(&self, id: ProxyId) {
        if let Some(waiting) = self.lock().pending.written(id) {
            waiting.stats.forward_written();
        }
    }

    /// A DATA connection of `identity`, if it has one, names this id. On success it
    /// belongs to the request that waited; otherwise it is counted as unexpected
    /// and closed.
    pub fn claim(&self, id: ProxyId, identity: Option<&Identity>, data: Side<S>) -> bool {
        let claimed = identity.and_then(|identity| {
            self.lock().take(|pending| pending.claim(id, identity, Instant::now()).ok())
        });
        let Some(waiting) = claimed else {
            self.metrics.unexpected_data();
            return false;
        };
        waiting.stats.data_matched();
        self.metrics.data_matched(waiting.since.elapsed());
        // A request that has just gone drops the connection, which closes it.
        let _ = waiting.reply.send(Ok(data));
        true
    }

    /// The peer at the other end of `link` says that no DATA connection comes.
    pub fn fail(&self, id: ProxyId, link: LinkId, reason: FailReason) {
        if let Some(waiting) = self.lock().take(|pending| pending.fail(id, link)) {
            waiting.stats.forward_failed(reason.into());
            let _ = waiting.reply.send(Err(ForwardError::Failed(reason)));
        }
    }

    /// The deadline of this id has come. `None` when the id was taken before: the
    /// request's receiver then has its answer.
    pub fn expire(&self, id: ProxyId) -> Option<ForwardError> {
        let entry = self.lock().pending.expire(id)?;
        if entry.written {
            entry.waiting.stats.data_timed_out();
            Some(ForwardError::Timeout)
        } else {
            Some(ForwardError::NotWritten)
        }
    }

    /// Forgets names that nobody has served for `retention`.
    pub fn forget_names(&self, retention: Duration) {
        self.lock().routes.forget(Instant::now(), retention, |stats| stats.is_active());
    }

    /// The numbers of this moment.
    pub fn snapshot(&self) -> Snapshot {
        let tables = self.lock();
        let mut waiting: BTreeMap<&Name, u64> = BTreeMap::new();
        tables.pending.waiting().for_each(|one| *waiting.entry(&one.name).or_default() += 1);
        let rows = tables.routes.rows().map(|row| NameRow {
            name: row.name.to_string(),
            providers: row
                .providers
                .iter()
                .map(|peer| peer.map_or("local", |peer| peer.as_str()).to_owned())
                .collect(),
            pending: waiting.get(row.name).copied().unwrap_or(0),
            counts: row.stats.snapshot(),
        });
        Snapshot {
            names: rows.collect(),
            other: self.metrics.other().snapshot(),
            pending: waiting.values().sum(),
            links: tables.routes.link_count() as u64,
            unexpected: self.metrics.unexpected_count(),
            panics: self.metrics.panic_count(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables<S>> {
        self.tables.lock().expect("no transition panics while it holds the lock")
    }
}

impl<S> Tables<S> {
    fn close_link(&mut self, link: LinkId) {
        self.links.remove(&link);
        for stats in self.routes.close_link(link, Instant::now()) {
            stats.disconnected();
        }
        for entry in self.pending.purge(link) {
            let error = if entry.written {
                entry.waiting.stats.forward_failed(ForwardFailure::LinkLost);
                ForwardError::LinkLost
            } else {
                ForwardError::NotWritten
            };
            let _ = entry.waiting.reply.send(Err(error));
        }
    }

    /// Takes an entry whose peer has answered: then its FORWARD was written, even
    /// if the writer has not come round to saying so.
    fn take(
        &mut self,
        take: impl FnOnce(&mut Pending<Waiting<S>>) -> Option<Entry<Waiting<S>>>,
    ) -> Option<Waiting<S>> {
        let entry = take(&mut self.pending)?;
        if !entry.written {
            entry.waiting.stats.forward_written();
        }
        Some(entry.waiting)
    }
}
