//! The open links of a listening peer and the idle DATA connections of each.
//!
//! Both are scarce and shared out: at a limit, whoever holds most gives up what it has
//! held longest, and whoever comes is let in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::routes::LinkId;
use super::tally::Tally;
use super::waiting::{Forward, ForwardError};
use crate::limits::{
    FORWARDS_QUEUED_PER_LINK, IDLE_DATA_FRESH, IDLE_DATA_IN_ALL, IDLE_DATA_PER_LINK, LINKS,
};
use crate::names::{Name, PeerId};
use crate::trust::{Identity, Permission, Principal, RuleId};
use crate::workers::Place;

/// A DATA connection that waits for a request.
#[derive(Debug)]
pub struct Idle<S> {
    /// The connection, before its next line.
    pub stream: S,
    /// Since when it waits.
    pub since: Instant,
    /// What it showed, where that is not what its link showed.
    pub shows: Option<Box<Permission>>,
    /// Where it was used last.
    pub place: Place,
}

/// Why a link has to end that its own peer did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dismissal {
    /// Its peer opened another.
    Replaced,
    /// Its identity held the most links when one more was wanted.
    Crowded,
}

/// A link that was taken in.
#[derive(Debug)]
pub struct Opened {
    /// Its id.
    pub id: LinkId,
    /// The FORWARD lines for it; closed once it was dismissed and the reason is there.
    pub forwards: mpsc::Receiver<Forward>,
    /// Why it was dismissed.
    pub dismissed: oneshot::Receiver<Dismissal>,
}

/// What is kept for a link.
#[derive(Debug)]
pub struct Link<S> {
    /// Who is at its other end, and what it may do.
    pub principal: Principal,
    holder: Holder,
    forwards: mpsc::Sender<Forward>,
    dismiss: oneshot::Sender<Dismissal>,
    since: Instant,
    source: Option<SocketAddr>,
    /// The one used last is at the end.
    idle: VecDeque<Idle<S>>,
}

impl<S> Link<S> {
    /// When it was opened.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Where it comes from, where that is known.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// How many DATA connections of it wait for a request.
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }
}

/// Whom links are counted for. A token may be shown under any number of peer ids, and a
/// source may claim any in clear text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Source(IpAddr),
    Certificate(String, PeerId),
    Rule(RuleId),
}

impl Holder {
    fn of(identity: &Identity) -> Self {
        match identity {
            Identity::Plaintext(source) => Self::Source(*source),
            Identity::Certificate { trust_domain, peer } => {
                Self::Certificate(trust_domain.clone(), peer.clone())
            }
            Identity::Token { rule, .. } => Self::Rule(rule.clone()),
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Links<S> {
    open: BTreeMap<LinkId, Link<S>>,
    opened: u64,
    held: Tally<Holder>,
    /// In the order of their opening.
    by_holder: BTreeSet<(Holder, LinkId)>,
    idle: Tally<LinkId>,
}

impl<S> Default for Links<S> {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            opened: 0,
            held: Tally::default(),
            by_holder: BTreeSet::new(),
            idle: Tally::default(),
        }
    }
}

impl<S> Links<S> {
    /// The link that has to go before one more is opened, if there are too many.
    pub fn crowded(&self) -> Option<LinkId> {
        if self.held.total() < LINKS {
            return None;
        }
        let greediest = self.held.greediest()?;
        let oldest = (greediest.clone(), LinkId(0));
        self.by_holder.range(oldest..).next().map(|(_, link)| *link)
    }

    /// Takes in a link of `principal`.
    pub fn open(&mut self, principal: Principal) -> Opened {
        let (forwards, forwards_out) = mpsc::channel(FORWARDS_QUEUED_PER_LINK);
        let (dismiss, dismissed) = oneshot::channel();
        self.opened += 1;
        let id = LinkId(self.opened);
        let holder = Holder::of(&principal.identity);
        self.held.add(&holder);
        self.by_holder.insert((holder.clone(), id));
        let idle = VecDeque::new();
        let (since, source) = (Instant::now(), None);
        let link = Link { principal, holder, forwards, dismiss, since, source, idle };
        self.open.insert(id, link);
        Opened { id, forwards: forwards_out, dismissed }
    }

    /// Where a link comes from, for operators.
    pub fn comes_from(&mut self, id: LinkId, source: SocketAddr) {
        if let Some(link) = self.open.get_mut(&id) {
            link.source = Some(source);
        }
    }

    /// The links after this one, in the order of their opening, for operators.
    pub fn after(&self, last: LinkId) -> impl Iterator<Item = (LinkId, &Link<S>)> {
        let after = self.open.range((Bound::Excluded(last), Bound::Unbounded));
        after.map(|(id, link)| (*id, link))
    }

    /// Takes a link out, and with it its idle DATA connections, which are closed when
    /// they are dropped. Its task is told why, if that is not its own doing.
    pub fn close(&mut self, id: LinkId, why: Option<Dismissal>) -> Option<Closed<S>> {
        let Link { holder, forwards, dismiss, idle, .. } = self.open.remove(&id)?;
        self.by_holder.remove(&(holder.clone(), id));
        self.held.remove(&holder);
        idle.iter().for_each(|_| self.idle.remove(&id));
        if let Some(why) = why {
            // A link that is ending already does not listen.
            let _ = dismiss.send(why);
        }
        // On another thread, its task looks for the reason as soon as these are closed.
        drop(forwards);
        Some(Closed { _idle: idle })
    }

    /// Who is at the other end of a link, as long as it is open.
    pub fn principal(&self, id: LinkId) -> Option<&Principal> {
        self.open.get(&id).map(|link| &link.principal)
    }

    /// Hands a FORWARD to the writer of a link.
    ///
    /// # Errors
    /// `LinkLost` when the link has just ended, `NotWritten` when its writer is too far
    /// behind.
    pub fn send(&self, id: LinkId, forward: Forward) -> Result<(), ForwardError> {
        let link = self.open.get(&id).ok_or(ForwardError::LinkLost)?;
        link.forwards.try_send(forward).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ForwardError::NotWritten,
            mpsc::error::TrySendError::Closed(_) => ForwardError::LinkLost,
        })
    }

    /// Keeps a DATA connection for requests to come. Gives back what is to be closed: this
    /// one when its link has ended or has enough, or the oldest of the link that has most.
    pub fn keep_idle(&mut self, id: LinkId, idle: Idle<S>) -> Result<Option<Idle<S>>, Idle<S>> {
        let Some(link) = self.open.get_mut(&id) else { return Err(idle) };
        if link.idle.len() >= IDLE_DATA_PER_LINK {
            return Err(idle);
        }
        link.idle.push_back(idle);
        self.idle.add(&id);
        Ok(if self.idle.total() > IDLE_DATA_IN_ALL { self.oldest_of_greediest() } else { None })
    }

    fn oldest_of_greediest(&mut self) -> Option<Idle<S>> {
        let greediest = *self.idle.greediest()?;
        let oldest = self.open.get_mut(&greediest)?.idle.pop_front()?;
        self.idle.remove(&greediest);
        Some(oldest)
    }

    /// The DATA connection of `link` that was used last and may carry a request for `name`; one
    /// that was used `here`, if there is any. Those that may not are given back to be closed.
    pub fn take_idle(
        &mut self,
        id: LinkId,
        name: &Name,
        here: Place,
        now: Instant,
    ) -> (Option<Idle<S>>, Vec<Idle<S>>) {
        let mut forbidden = Vec::new();
        let Some(link) = self.open.get_mut(&id) else { return (None, forbidden) };
        while let Some(idle) = take_last(&mut link.idle, here, now) {
            self.idle.remove(&id);
            if idle.shows.as_ref().is_none_or(|shows| shows.permits(name)) {
                return (Some(idle), forbidden);
            }
            forbidden.push(idle);
        }
        (None, forbidden)
    }

    /// Lets go of those idle DATA connections of a link that are not `good`.
    pub fn sweep_idle(&mut self, id: LinkId, mut good: impl FnMut(&mut Idle<S>) -> bool) {
        let Some(link) = self.open.get_mut(&id) else { return };
        let before = link.idle.len();
        link.idle.retain_mut(|idle| good(idle));
        (link.idle.len()..before).for_each(|_| self.idle.remove(&id));
    }

    /// Lets go of all idle DATA connections.
    pub fn drop_idle(&mut self) {
        self.open.values_mut().for_each(|link| link.idle.clear());
        self.idle = Tally::default();
    }

    /// How many DATA connections wait for a request.
    pub fn idle_count(&self) -> usize {
        self.idle.total()
    }

    /// How many links are open.
    pub fn count(&self) -> usize {
        self.held.total()
    }
}

/// What was kept of a link, to be dropped when nobody waits for the tables.
#[derive(Debug)]
pub struct Closed<S> {
    _idle: VecDeque<Idle<S>>,
}

/// The last that was used `here`, not long ago, or else the last of all.
fn take_last<S>(idle: &mut VecDeque<Idle<S>>, here: Place, now: Instant) -> Option<Idle<S>> {
    let is_near = |one: &Idle<S>| one.place == here && now - one.since <= IDLE_DATA_FRESH;
    match idle.iter().rposition(is_near) {
        Some(at) => idle.remove(at),
        None => idle.pop_back(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;
    use crate::trust::TokenRules;

    fn of(source: [u8; 4]) -> Principal {
        Principal { identity: Identity::Plaintext(source.into()), permission: Permission::Any }
    }

    #[test]
    fn when_there_are_too_many_links_the_greediest_identity_pays() {
        let mut links = Links::<()>::default();
        let honest = links.open(of([10, 0, 0, 2])).id;
        let greedy: Vec<LinkId> = (1..LINKS).map(|_| links.open(of([10, 0, 0, 1])).id).collect();
        assert_eq!(links.crowded(), Some(greedy[0]), "its oldest, although another's is older");
        links.close(greedy[0], Some(Dismissal::Crowded));
        assert_eq!(links.crowded(), None);
        assert!(links.principal(honest).is_some());
    }

    #[test]
    fn who_finds_a_link_closed_finds_why() {
        let mut links = Links::<()>::default();
        for _ in 0..1000 {
            let Opened { id, mut forwards, mut dismissed } = links.open(of([10, 0, 0, 1]));
            let found = std::thread::scope(|threads| {
                let looks = threads.spawn(move || {
                    while !matches!(forwards.try_recv(), Err(TryRecvError::Disconnected)) {}
                    dismissed.try_recv()
                });
                links.close(id, Some(Dismissal::Replaced));
                looks.join().unwrap()
            });
            assert_eq!(found, Ok(Dismissal::Replaced));
        }
    }

    #[test]
    fn the_idle_connection_that_was_used_last_here_is_taken_or_the_last_of_all() {
        let mut links = Links::default();
        let link = links.open(of([10, 0, 0, 1])).id;
        let [here, there] = [0, 1].map(Place::worker);
        let began = Instant::now();
        let later = began + Duration::from_secs(1);
        for (stream, place, since) in
            [(1, here, began), (2, here, later), (3, there, later), (4, there, later)]
        {
            links.keep_idle(link, Idle { stream, since, shows: None, place }).unwrap();
        }
        let name = "app".parse().unwrap();
        let now = later + IDLE_DATA_FRESH;
        let taken =
            (0..5).map(|_| links.take_idle(link, &name, here, now).0.map(|idle| idle.stream));
        // The first is too old to be preferred.
        assert_eq!(taken.collect::<Vec<_>>(), [Some(2), Some(4), Some(3), Some(1), None]);
        assert_eq!(links.idle_count(), 0);
    }

    #[test]
    fn an_idle_connection_carries_only_what_it_showed_a_permission_for() {
        let mut links = Links::default();
        let link = links.open(of([10, 0, 0, 1])).id;
        let rules = format!("[[token]]\nsecret = '{}'\nnames = ['other']", "s".repeat(32));
        let rule = TokenRules::from_toml(&rules).unwrap().rules().next().unwrap();
        let since = Instant::now();
        let place = Place::here();
        let shows = Some(Box::new(Permission::Rule(rule)));
        links.keep_idle(link, Idle { stream: 1, since, shows: None, place }).unwrap();
        links.keep_idle(link, Idle { stream: 2, since, shows, place }).unwrap();
        let (idle, forbidden) = links.take_idle(link, &"app".parse().unwrap(), place, since);
        assert_eq!(idle.map(|idle| idle.stream), Some(1));
        assert_eq!(forbidden.len(), 1);
        assert_eq!(links.idle_count(), 0);
    }
}
