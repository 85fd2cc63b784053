//! What this peer knows of its mesh: who serves which name, and which requests
//! wait for a DATA connection. Each change is made together with the metrics
//! that it means, so the two cannot part.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::config::Capacity;
use crate::limits::{FORWARDS_QUEUED_PER_LINK, IDLE_DATA_IN_ALL, IDLE_DATA_PER_LINK};
use crate::mesh::pending::{Entry, Pending};
use crate::mesh::routes::{Assigned, LinkId, Lookup, Provider, Routes, TooManyNames};
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::metrics::{ForwardFailure, Metrics, NameRow, NameStats, Snapshot};
use crate::stream::relay::Side;
use crate::trust::{Identity, Owner};
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

/// A DATA connection that waits for a request.
#[derive(Debug)]
pub struct Idle<S> {
    /// The connection, before its next line.
    pub stream: S,
    /// Since when it waits.
    pub since: Instant,
}

/// What the mesh keeps for a link.
#[derive(Debug)]
struct LinkHandle<S> {
    identity: Identity,
    forwards: mpsc::Sender<Forward>,
    /// The one used last is at the end, and is taken first.
    idle: VecDeque<Idle<S>>,
}

#[derive(Debug)]
struct Tables<S> {
    routes: Routes<Arc<NameStats>>,
    links: BTreeMap<LinkId, LinkHandle<S>>,
    /// DATA connections that wait for a request, of all links.
    idle_count: usize,
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
            idle_count: 0,
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
        tables.links.insert(link, LinkHandle { identity, forwards, idle: VecDeque::new() });
        let closed = replaced.and_then(|old| tables.close_link(old));
        drop(tables);
        // Its sockets are closed when nobody waits for the tables.
        drop(closed);
        (link, receiver)
    }

    /// A link has ended: its names lose a provider, its waiting requests fail.
    /// Does nothing for a link that was replaced before.
    pub fn close_link(&self, link: LinkId) {
        let closed = self.lock().close_link(link);
        drop(closed);
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
        let mut tables = self.lock();
        let id = forward.id;
        tables.send(link, forward)?;
        tables.await_data(link, assignment, id, deadline)
    }

    /// As [`forward`](Self::forward), for a FORWARD that is written elsewhere.
    ///
    /// # Errors
    /// `LinkLost` when the link has just ended.
    pub fn await_data(
        &self,
        link: LinkId,
        assignment: &Assignment,
        id: ProxyId,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Dialled<S>>, ForwardError> {
        self.lock().await_data(link, assignment, id, deadline)
    }

    /// Who is at the other end of a link, as long as it is open.
    pub fn identity(&self, link: LinkId) -> Option<Identity> {
        self.lock().links.get(&link).map(|handle| handle.identity.clone())
    }

    /// Hands a FORWARD to a link whose request waits already.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_again(&self, link: LinkId, forward: Forward) -> Result<(), ForwardError> {
        self.lock().send(link, forward)
    }

    /// A DATA connection waits for requests of the link of this peer. Gives it back
    /// when there is no such link with this identity, or enough wait.
    pub fn introduce(
        &self,
        peer: PeerId,
        identity: &Identity,
        idle: Idle<S>,
    ) -> Result<(), Idle<S>> {
        let tables = &mut *self.lock();
        let link = tables.routes.link_of(&Owner::new(peer, identity));
        let handle = link.and_then(|link| tables.links.get(&link));
        match link.filter(|_| handle.is_some_and(|handle| handle.identity == *identity)) {
            Some(link) => tables.keep_idle(link, idle),
            None => Err(idle),
        }
    }

    /// A DATA connection of `link` waits again. Gives it back when the link has ended,
    /// or enough wait.
    pub fn keep_idle(&self, link: LinkId, idle: Idle<S>) -> Result<(), Idle<S>> {
        self.lock().keep_idle(link, idle)
    }

    /// The DATA connection of `link` that was used last.
    pub fn take_idle(&self, link: LinkId) -> Option<Idle<S>> {
        let tables = &mut *self.lock();
        let idle = tables.links.get_mut(&link)?.idle.pop_back()?;
        tables.idle_count -= 1;
        Some(idle)
    }

    /// Lets go of those idle DATA connections of `link` that are not `alive`, which is
    /// asked while nobody else can use the tables.
    pub fn sweep_idle(&self, link: LinkId, mut alive: impl FnMut(&mut S) -> bool) {
        let tables = &mut *self.lock();
        let Some(handle) = tables.links.get_mut(&link) else { return };
        let before = handle.idle.len();
        handle.idle.retain_mut(|idle| alive(&mut idle.stream));
        tables.idle_count -= before - handle.idle.len();
    }

    /// Lets go of all idle DATA connections: their descriptors are needed.
    pub fn drop_idle(&self) {
        let tables = &mut *self.lock();
        tables.links.values_mut().for_each(|handle| handle.idle.clear());
        tables.idle_count = 0;
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
        Snapshot { names: tables.rows(None, usize::MAX), ..self.totals(&tables) }
    }

    /// All numbers but those of the names.
    pub fn snapshot_without_names(&self) -> Snapshot {
        self.totals(&self.lock())
    }

    /// The numbers of the first names after `last`, `most` at most, in order: who
    /// goes through all of them so holds up no request for long.
    pub fn rows_after(&self, last: Option<&str>, most: usize) -> Vec<NameRow> {
        self.lock().rows(last, most)
    }

    fn totals(&self, tables: &Tables<S>) -> Snapshot {
        Snapshot {
            names: Vec::new(),
            other: self.metrics.other().snapshot(),
            pending: tables.pending.waiting().count() as u64,
            links: tables.routes.link_count() as u64,
            idle_data: tables.idle_count as u64,
            unexpected: self.metrics.unexpected_count(),
            panics: self.metrics.panic_count(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables<S>> {
        self.tables.lock().expect("no transition panics while it holds the lock")
    }
}

impl<S> Tables<S> {
    fn rows(&self, after: Option<&str>, most: usize) -> Vec<NameRow> {
        let mut waiting: BTreeMap<&Name, u64> = BTreeMap::new();
        self.pending.waiting().for_each(|one| *waiting.entry(&one.name).or_default() += 1);
        let rows = self.routes.rows_after(after).take(most).map(|row| NameRow {
            name: row.name.to_string(),
            providers: row
                .providers
                .iter()
                .map(|peer| peer.map_or("local", |peer| peer.as_str()).to_owned())
                .collect(),
            pending: waiting.get(row.name).copied().unwrap_or(0),
            counts: row.stats.snapshot(),
        });
        rows.collect()
    }

    fn send(&self, link: LinkId, forward: Forward) -> Result<(), ForwardError> {
        let handle = self.links.get(&link).ok_or(ForwardError::LinkLost)?;
        handle.forwards.try_send(forward).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ForwardError::NotWritten,
            mpsc::error::TrySendError::Closed(_) => ForwardError::LinkLost,
        })
    }

    fn await_data(
        &mut self,
        link: LinkId,
        assignment: &Assignment,
        id: ProxyId,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Dialled<S>>, ForwardError> {
        let handle = self.links.get(&link).ok_or(ForwardError::LinkLost)?;
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting {
            name: assignment.name.clone(),
            stats: assignment.stats.clone(),
            since: Instant::now(),
            reply,
        };
        self.pending.insert(id, link, handle.identity.clone(), deadline, waiting);
        Ok(receiver)
    }

    fn keep_idle(&mut self, link: LinkId, idle: Idle<S>) -> Result<(), Idle<S>> {
        match self.links.get_mut(&link) {
            Some(handle)
                if handle.idle.len() < IDLE_DATA_PER_LINK && self.idle_count < IDLE_DATA_IN_ALL =>
            {
                handle.idle.push_back(idle);
                self.idle_count += 1;
                Ok(())
            }
            _ => Err(idle),
        }
    }

    /// Returns what is to be dropped.
    fn close_link(&mut self, link: LinkId) -> Option<LinkHandle<S>> {
        let closed = self.links.remove(&link);
        self.idle_count -= closed.as_ref().map_or(0, |handle| handle.idle.len());
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
        closed
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
