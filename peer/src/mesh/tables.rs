//! The tables of one peer behind one lock: who serves which name, and which requests
//! wait for a DATA connection. Each change is made together with the metrics that it
//! means, under the lock, so that no scrape sees the one without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};

use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, Instant};

use super::links::{Closed, Dismissal, Idle, Links, Opened};
use super::notice::{Notice, Notices};
use super::pending::{Entry, NotClaimed, Pending};
use super::returning::{KnownNames, Patience, Returning};
use super::routes::{Assigned, LinkId, Lookup, Provider, Routes, Server, TooManyNames, Wanted};
use super::unwell::Unwell;
use super::waiting::{Dialled, Forward, ForwardError, Waiting};
use crate::config::{Capacity, PeerConfig};
use crate::limits::NAMES;
use crate::lock::Lock;
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::metrics::{ForwardFailure, Metrics, NameRow, NameStats, Snapshot};
use crate::offer::{Offer, Ways};
use crate::stream::relay::Side;
use crate::trust::{Owner, Principal};
use crate::wire::{FailReason, Withdrawal};
use crate::workers::Place;

/// A request that was given to a provider.
pub type Assignment = Assigned<Arc<NameStats>>;

/// An idle DATA connection that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Its peer has no link here, or enough idle connections.
    #[error("no link of its peer is there for it, or it is one too many")]
    Unwanted,
    /// A link is open under its peer id, but to somebody else.
    #[error("the link under this peer id belongs to another identity")]
    Foreign,
}

#[derive(Debug)]
pub(super) struct Tables<S> {
    pub(super) routes: Routes<Arc<NameStats>>,
    pub(super) unwell: Unwell,
    returning: Returning,
    notices: Notices,
    pub(super) links: Links<S>,
    pending: Pending<Waiting<S>>,
}

/// A request that waits for a provider to come back, until dropped.
#[derive(Debug)]
pub struct Held<'a, S> {
    mesh: &'a Mesh<S>,
    name: Name,
}

impl<S> Drop for Held<'_, S> {
    fn drop(&mut self) {
        self.mesh.lock().returning.release(&self.name);
    }
}

/// The tables, and the lock, which is held for look-ups only.
#[derive(Debug)]
pub struct Mesh<S> {
    tables: Lock<Tables<S>>,
    metrics: Arc<Metrics>,
    /// The version of the routes that was told of last.
    changes: watch::Sender<u64>,
}

impl<S> Mesh<S> {
    /// A mesh that knows nothing but the names served by this very peer.
    pub fn new(
        metrics: Arc<Metrics>,
        capacity: Capacity,
        ways: Ways,
        local: impl Iterator<Item = Offer>,
    ) -> Self {
        let mut routes = Routes::new(capacity.names_per_peer, NAMES, ways);
        local.for_each(|offer| drop(routes.serve_locally(offer)));
        let unwell = Unwell::new(capacity.names_per_peer, NAMES);
        let pending = Pending::new(capacity.pending_per_peer);
        let (returning, notices) = (Returning::default(), Notices::default());
        let links = Links::default();
        let tables = Tables { routes, unwell, returning, notices, links, pending };
        let tables = Lock::new("the tables of the mesh", tables);
        Self { tables, metrics, changes: watch::Sender::new(0) }
    }

    /// Takes in a link. If there are too many, the oldest of whoever has most is
    /// dismissed.
    pub fn open_link(&self, peer: PeerId, principal: Principal) -> Opened {
        let owner = Owner::new(peer, &principal.identity);
        let mut tables = self.lock();
        if tables.routes.shares_id(&owner) {
            self.metrics.peer_id_conflict();
        }
        let crowded = tables.links.crowded();
        let opened = tables.links.open(principal);
        tables.routes.open_link(opened.id, owner);
        let crowded = crowded.and_then(|old| tables.close_link(old, Some(Dismissal::Crowded)));
        let version = tables.routes.version();
        drop(tables);
        self.tell(version);
        // Its sockets are closed when nobody waits for the tables.
        drop(crowded);
        opened
    }

    /// A link has ended: its names lose a provider, its waiting requests fail.
    /// Does nothing for a link that was dismissed before.
    pub fn close_link(&self, link: LinkId) {
        let mut tables = self.lock();
        let closed = tables.close_link(link, None);
        let version = tables.routes.version();
        drop(tables);
        drop(closed);
        self.tell(version);
    }

    /// Adds or refreshes names of a link and returns how many were taken. With its first
    /// ones, an older link of the same owner is replaced.
    ///
    /// # Errors
    /// [`TooManyNames`], and nothing was registered.
    pub fn register(&self, link: LinkId, offers: &[Offer]) -> Result<usize, TooManyNames> {
        let mut tables = self.lock();
        let replaced = tables.routes.take_over(link);
        let replaced = replaced.and_then(|old| tables.close_link(old, Some(Dismissal::Replaced)));
        let taken = tables.routes.register(link, offers);
        if taken.is_ok() {
            for Offer { name, .. } in offers {
                tables.unwell.forget(name, Provider::Link(link));
                tables.returning.came_back(name);
            }
        }
        let version = tables.routes.version();
        drop(tables);
        self.tell(version);
        drop(replaced);
        let taken = taken?;
        taken.iter().for_each(|stats| stats.registered());
        Ok(taken.len())
    }

    /// Withdraws names of a link and returns how many it had.
    pub fn unregister(&self, link: LinkId, names: &[Name]) -> usize {
        let mut tables = self.lock();
        let had = tables.routes.unregister(link, names, Instant::now());
        tables.notices.give(Provider::Link(link), names);
        let version = tables.routes.version();
        drop(tables);
        self.tell(version);
        had.iter().for_each(|stats| stats.disconnected());
        had.len()
    }

    /// Remembers which names a link has withdrawn because their backends fail their checks,
    /// and that it has withdrawn the others for good.
    pub fn note_health(&self, link: LinkId, withdrawn: &[Withdrawal]) {
        let mut tables = self.lock();
        if tables.links.principal(link).is_none() {
            return;
        }
        for Withdrawal { name, unhealthy } in withdrawn {
            match unhealthy {
                Some(seconds) => tables.unwell.note(name.clone(), Provider::Link(link), *seconds),
                None => tables.unwell.forget(name, Provider::Link(link)),
            }
        }
    }

    /// When a client may ask for `requested` again, in seconds, if somebody has withdrawn
    /// it because its backend fails its checks.
    pub fn unhealthy(&self, requested: &Name) -> Option<u16> {
        let Tables { routes, unwell, .. } = &*self.lock();
        match routes.matching(requested) {
            Some(name) => unwell.retry_after(name.as_str()),
            None => unwell
                .retry_after(requested.as_str())
                .or_else(|| unwell.retry_after(&requested.wildcard()?)),
        }
    }

    /// Withdraws a name that this very peer serves, because its backend fails its checks.
    pub fn withdraw_local(&self, name: &Name, retry_after: u16) {
        let mut tables = self.lock();
        tables.unwell.note(name.clone(), Provider::Local, retry_after);
        tables.notices.give(Provider::Local, [name]);
        if let Some(stats) = tables.routes.withdraw_locally(name, Instant::now()) {
            stats.disconnected();
        }
    }

    /// Serves a name again that was withdrawn with [`withdraw_local`](Self::withdraw_local).
    pub fn return_local(&self, offer: Offer) {
        let mut tables = self.lock();
        tables.unwell.forget(&offer.name, Provider::Local);
        if let Some(stats) = tables.routes.serve_locally(offer) {
            stats.registered();
        }
    }

    /// Knows these names from now on, which nobody serves yet; with `expected`, somebody is
    /// about to.
    pub fn recall(&self, names: impl IntoIterator<Item = Name>, expected: bool) {
        let (mut tables, now) = (self.lock(), Instant::now());
        for name in names {
            tables.routes.recall(name.clone(), now);
            if expected && tables.routes.unserved_since(&name).is_some() {
                tables.returning.expect(name);
            }
        }
    }

    /// The names that links have registered, or had.
    pub fn known_names(&self) -> KnownNames {
        let Tables { routes, returning, .. } = &*self.lock();
        let mut known = KnownNames::default();
        for row in routes.rows() {
            let is_ours = |one: &Server<'_>| matches!(one, Server::Local | Server::Upstream);
            let is_expected = returning.expected().contains(row.name);
            if row.providers.iter().any(|one| matches!(one, Server::Peer(_))) || is_expected {
                known.up.push(row.name.clone());
            } else if !row.providers.iter().any(is_ours) {
                known.down.push(row.name.clone());
            }
        }
        known
    }

    /// How many names are expected and not back yet.
    pub fn expected(&self) -> usize {
        self.lock().returning.expected().len()
    }

    /// Expects nobody any more; the names that have not come back.
    pub fn stop_expecting(&self) -> BTreeSet<Name> {
        self.lock().returning.give_up()
    }

    /// Until when a request for `requested`, which nobody serves, is to wait for somebody
    /// who does, and what it holds meanwhile; `None` if nobody is expected back.
    pub fn hold(&self, requested: &Name, patience: Patience) -> Option<(Instant, Held<'_, S>)> {
        let Tables { routes, unwell, returning, pending, .. } = &mut *self.lock();
        let name = routes.matching(requested)?;
        let lost = routes.unserved_since(&name)?;
        if unwell.retry_after(name.as_str()).is_some() {
            return None;
        }
        let now = Instant::now();
        let until = returning.hold(&name, (now, lost), patience, pending.limit())?;
        Some((until, Held { mesh: self, name }))
    }

    /// From now on, the listening peers are asked for these names; see
    /// [`Routes::ask_upstream`].
    pub fn ask_upstream(&self, names: impl IntoIterator<Item = Name>) {
        let mut tables = self.lock();
        names.into_iter().for_each(|name| tables.routes.ask_upstream(name));
    }

    /// Withdraws what this very peer serves, or asks others for, and will not any more.
    pub fn before_change(&self, old: &PeerConfig, new: &PeerConfig) {
        let (mut tables, now) = (self.lock(), Instant::now());
        for name in old.services.keys().filter(|name| !new.services.contains_key(*name)) {
            tables.unwell.forget(name, Provider::Local);
            tables.notices.give(Provider::Local, [name]);
            if let Some(stats) = tables.routes.withdraw_locally(name, now) {
                stats.disconnected();
            }
        }
        for name in old.reach.iter().filter(|name| !new.reach.contains(name)) {
            tables.notices.give(Provider::Upstream, [name]);
            tables.routes.ask_nobody(name, now);
        }
    }

    /// Serves, asks for and limits what the new configuration says; what has not changed is
    /// not touched. A service that is not `well` stays withdrawn.
    pub fn after_change(&self, old: &PeerConfig, new: &PeerConfig, well: impl Fn(&Name) -> bool) {
        let mut tables = self.lock();
        tables.routes.set_limits(new.capacity.names_per_peer, new.ways);
        tables.unwell.set_limit(new.capacity.names_per_peer);
        tables.pending.set_limit(new.capacity.pending_per_peer);
        for offer in new.offers().filter(|offer| well(&offer.name)) {
            tables.routes.update_locally(&offer);
            tables.unwell.forget(&offer.name, Provider::Local);
            if let Some(stats) = tables.routes.serve_locally(offer) {
                stats.registered();
            }
        }
        for name in new.reach.iter().filter(|name| !old.reach.contains(name)) {
            tables.routes.ask_upstream(name.clone());
        }
        let version = tables.routes.version();
        drop(tables);
        self.tell(version);
    }

    /// One more listening peer can be asked.
    pub fn upstream_opened(&self) {
        self.lock().routes.upstream_opened();
    }

    /// One less can be asked.
    pub fn upstream_closed(&self) {
        self.lock().routes.upstream_closed();
    }

    /// Gives a request to a provider; see [`Routes::assign`].
    pub fn assign(&self, wanted: Wanted<'_>) -> Lookup<Arc<NameStats>> {
        let Tables { routes, pending, .. } = &mut *self.lock();
        routes.assign(wanted, |link, name, alone| pending.has_room(link, name, alone))
    }

    /// What says that the provider of a request withdraws the name; said already, if it has.
    pub fn notice(&self, assignment: &Assignment) -> Arc<Notice> {
        let Tables { routes, notices, .. } = &mut *self.lock();
        let Assignment { name, provider, .. } = assignment;
        match routes.is_served_by(name, *provider) {
            true => notices.of(*provider, name),
            false => {
                let notice = Notice::default();
                // Of a link that is gone, what runs may go on.
                if routes.is_open(*provider) {
                    notice.give();
                }
                Arc::new(notice)
            }
        }
    }

    /// Whether a request of this id waits for its DATA connection.
    pub fn is_waiting(&self, id: ProxyId) -> bool {
        self.lock().pending.contains(id)
    }

    /// What `own` may pass on to `to`; see [`Routes::passed_on`].
    pub fn passed_on(
        &self,
        own: &PeerId,
        to: &PeerId,
        meant: impl Fn(&Name) -> bool,
    ) -> Vec<Offer> {
        self.lock().routes.passed_on(own, to, meant)
    }

    /// Tells of each change of who serves what; a heartbeat is none.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self, version: u64) {
        self.changes.send_if_modified(|told| {
            let is_new = version > *told;
            *told = version.max(*told);
            is_new
        });
    }

    /// Whether a provider of `requested` has a backend that speaks HTTP/2 in clear text.
    pub fn offers_h2(&self, requested: &Name) -> bool {
        self.lock().routes.offers_h2(requested)
    }

    /// The counters that a request for this name is counted in, if it is known.
    pub fn stats_of(&self, requested: &Name) -> Option<Arc<NameStats>> {
        self.lock().routes.stats_of(requested)
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
        tables.is_new(id)?;
        tables.links.send(link, forward)?;
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
        let mut tables = self.lock();
        tables.is_new(id)?;
        tables.await_data(link, assignment, id, deadline)
    }

    /// Hands a FORWARD to a link whose request waits already.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_again(&self, link: LinkId, forward: Forward) -> Result<(), ForwardError> {
        self.lock().links.send(link, forward)
    }

    /// A DATA connection of `peer` waits for requests of its link, whose identity it must
    /// show.
    ///
    /// # Errors
    /// [`NotKept`], and the connection is closed.
    pub fn introduce(
        &self,
        peer: PeerId,
        principal: Principal,
        stream: S,
        place: Place,
    ) -> Result<(), NotKept> {
        let owner = Owner::new(peer, &principal.identity);
        let mut tables = self.lock();
        let link = tables.routes.link_of(&owner);
        let own = link.and_then(|link| Some((link, tables.links.principal(link)?)));
        // In clear text, a link may be somebody else's under the same peer id.
        let own = own.filter(|(_, of_link)| of_link.identity == principal.identity);
        let Some((link, of_link)) = own else {
            let foreign = link.is_some() || tables.routes.shares_id(&owner);
            return Err(if foreign { NotKept::Foreign } else { NotKept::Unwanted });
        };
        let differs = !of_link.permission.is_same(&principal.permission);
        let shows = differs.then(|| Box::new(principal.permission));
        let idle = Idle { stream, since: Instant::now(), shows, place };
        let kept = tables.links.keep_idle(link, idle);
        drop(tables);
        kept.map(drop).map_err(|_| NotKept::Unwanted)
    }

    /// A DATA connection of `link` waits again; it is closed when the link has ended, or
    /// enough wait.
    pub fn keep_idle(&self, link: LinkId, idle: Idle<S>) {
        let kept = self.lock().links.keep_idle(link, idle);
        drop(kept);
    }

    /// The DATA connection of `link` that was used last and may carry a request for `name`; one
    /// that was used here lately, if there is any.
    pub fn take_idle(&self, link: LinkId, name: &Name, here: Place) -> Option<Idle<S>> {
        let (idle, forbidden) = self.lock().links.take_idle(link, name, here, Instant::now());
        // What they showed does not permit what the link registered.
        forbidden.iter().for_each(|_| self.metrics.unexpected_data());
        idle
    }

    /// Lets go of those idle DATA connections of `link` that are not `good`, which is
    /// asked while nobody else can use the tables.
    pub fn sweep_idle(&self, link: LinkId, good: impl FnMut(&mut Idle<S>) -> bool) {
        self.lock().links.sweep_idle(link, good);
    }

    /// Lets go of all idle DATA connections: their descriptors are needed.
    pub fn drop_idle(&self) {
        self.lock().links.drop_idle();
    }

    /// The FORWARD line of this id has been written.
    pub fn forward_written(&self, id: ProxyId) {
        let mut tables = self.lock();
        if let Some(waiting) = tables.pending.written(id) {
            waiting.stats.forward_written();
        }
    }

    /// The FORWARD line of a request of `assignment` had been written when its link ended, but
    /// the link's end came before [`forward_written`](Self::forward_written), from another
    /// thread, and took the id as [`NotWritten`](ForwardError::NotWritten).
    pub fn written_before_link_ended(&self, assignment: &Assignment) {
        // A scrape finds both counted, or neither.
        let _tables = self.lock();
        assignment.stats.forward_written();
        assignment.stats.forward_failed(ForwardFailure::LinkLost);
    }

    /// A DATA connection of `principal`, if it is anybody's, names this id. On success it
    /// belongs to the request that waited; otherwise it is closed, and counted if nobody
    /// asked for it.
    ///
    /// # Errors
    /// [`NotClaimed`].
    pub fn claim(
        &self,
        id: ProxyId,
        principal: Option<&Principal>,
        data: Side<S>,
    ) -> Result<(), NotClaimed> {
        let claimed = principal.ok_or(NotClaimed::Unexpected).and_then(|principal| {
            let Tables { links, pending, .. } = &mut *self.lock();
            let permitted = |entry: &Entry<Waiting<S>>| {
                let same = |of_link: &Principal| of_link.permission.is_same(&principal.permission);
                links.principal(entry.link).is_some_and(same)
                    || principal.permission.permits(&entry.name)
            };
            let identity = &principal.identity;
            pending.claim(id, identity, Instant::now(), permitted).map(matched)
        });
        self.hand_over(id, claimed, data)
    }

    /// The idle DATA connection of `link` that was taken for this id is ready.
    ///
    /// # Errors
    /// [`NotClaimed`], when the request has ended meanwhile.
    pub fn claim_idle(&self, id: ProxyId, link: LinkId, data: Side<S>) -> Result<(), NotClaimed> {
        let claimed = {
            let Tables { links, pending, .. } = &mut *self.lock();
            match links.principal(link) {
                Some(Principal { identity, .. }) => {
                    pending.claim(id, identity, Instant::now(), |_| true).map(matched)
                }
                // With the link the request has failed.
                None => Err(NotClaimed::Abandoned),
            }
        };
        self.hand_over(id, claimed, data)
    }

    fn hand_over(
        &self,
        id: ProxyId,
        claimed: Result<Waiting<S>, NotClaimed>,
        data: Side<S>,
    ) -> Result<(), NotClaimed> {
        let waiting = claimed.inspect_err(|error| {
            if *error == NotClaimed::Unexpected {
                self.metrics.unexpected_data();
            }
        })?;
        self.metrics.data_matched(id, waiting.since.elapsed());
        // A request that has just gone drops the connection, which closes it.
        let _ = waiting.reply.send(Ok((data, Place::here())));
        Ok(())
    }

    /// The peer at the other end of `link` says that no DATA connection comes.
    pub fn fail(&self, id: ProxyId, link: LinkId, reason: FailReason) {
        let mut tables = self.lock();
        let Some(waiting) = tables.pending.fail(id, link).map(answered) else { return };
        waiting.stats.forward_failed(reason.into());
        drop(tables);
        let _ = waiting.reply.send(Err(ForwardError::Failed(reason)));
    }

    /// The deadline of this id has come. `None` when the id was taken before: the
    /// request's receiver then has its answer.
    pub fn expire(&self, id: ProxyId) -> Option<ForwardError> {
        let mut tables = self.lock();
        let entry = tables.pending.expire(id)?;
        if entry.written {
            entry.waiting.stats.data_timed_out();
            Some(ForwardError::Timeout)
        } else {
            Some(ForwardError::NotWritten)
        }
    }

    /// The client of this id has gone. `None` when the id was taken before.
    pub fn abandon(&self, id: ProxyId) -> Option<ForwardError> {
        let mut tables = self.lock();
        let entry = tables.pending.abandon(id, Instant::now())?;
        if entry.written {
            entry.waiting.stats.forward_failed(ForwardFailure::ClientReset);
        }
        Some(ForwardError::ClientReset)
    }

    /// Forgets names that nobody has served for `retention`.
    pub fn forget_names(&self, retention: Duration) {
        self.lock().routes.forget(Instant::now(), retention);
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
            links: tables.links.count() as u64,
            links_by_peer: links_by_peer(&tables.links, &tables.routes),
            expected: tables.returning.expected().len() as u64,
            held: tables.returning.held() as u64,
            idle_data: tables.links.idle_count() as u64,
            unexpected: self.metrics.unexpected_count(),
            exchanges: self.metrics.exchange_count(),
            panics: self.metrics.panic_count(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tables<S>> {
        self.tables.lock()
    }
}

impl<S> Tables<S> {
    fn rows(&self, after: Option<&str>, most: usize) -> Vec<NameRow> {
        let mut waiting: BTreeMap<&Name, u64> = BTreeMap::new();
        self.pending.waiting().for_each(|name| *waiting.entry(name).or_default() += 1);
        let rows = self.routes.rows_after(after).take(most).map(|row| NameRow {
            name: row.name.to_string(),
            providers: row.providers.iter().map(ToString::to_string).collect(),
            pending: waiting.get(row.name).copied().unwrap_or(0),
            counts: row.stats.snapshot(),
        });
        rows.collect()
    }

    /// A request whose id waits already has come back to this peer.
    fn is_new(&self, id: ProxyId) -> Result<(), ForwardError> {
        match self.pending.contains(id) {
            true => Err(ForwardError::Failed(FailReason::Loop)),
            false => Ok(()),
        }
    }

    fn await_data(
        &mut self,
        link: LinkId,
        assignment: &Assignment,
        id: ProxyId,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Dialled<S>>, ForwardError> {
        let principal = self.links.principal(link).ok_or(ForwardError::LinkLost)?;
        let identity = principal.identity.clone();
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting { stats: assignment.stats.clone(), since: Instant::now(), reply };
        self.pending.insert(id, link, assignment.name.clone(), identity, deadline, waiting);
        Ok(receiver)
    }

    /// Returns what is to be dropped.
    fn close_link(&mut self, link: LinkId, why: Option<Dismissal>) -> Option<Closed<S>> {
        let closed = self.links.close(link, why);
        self.unwell.close_link(link);
        self.notices.forget(Provider::Link(link));
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
}

/// How many links each peer has registered on, its instances together.
fn links_by_peer<S>(links: &Links<S>, routes: &Routes<Arc<NameStats>>) -> Vec<(String, u64)> {
    let mut by_peer: BTreeMap<&str, u64> = BTreeMap::new();
    for (link, _) in links.after(LinkId(0)) {
        if let Some((peer, _)) = routes.registered_by(link) {
            *by_peer.entry(peer.without_instance()).or_default() += 1;
        }
    }
    by_peer.into_iter().map(|(peer, links)| (peer.to_owned(), links)).collect()
}

/// What waited, when its DATA connection has come.
fn matched<S>(entry: Entry<Waiting<S>>) -> Waiting<S> {
    let waiting = answered(entry);
    waiting.stats.data_matched();
    waiting
}

/// What waited, when its peer has answered: then its FORWARD was written, even if the
/// writer has not come round to saying so.
fn answered<S>(entry: Entry<Waiting<S>>) -> Waiting<S> {
    if !entry.written {
        entry.waiting.stats.forward_written();
    }
    entry.waiting
}
