//! The proxy ids that wait for their DATA connection.
//!
//! Pure. An entry leaves the table exactly once and hands over what waited on
//! it: by [`claim`](Pending::claim), [`fail`](Pending::fail),
//! [`expire`](Pending::expire), [`abandon`](Pending::abandon) or
//! [`purge`](Pending::purge). So a request is matched or timed out, never both and
//! never neither.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use crate::limits::{ABANDONED, PENDING, PENDING_PER_LINK};
use crate::mesh::routes::LinkId;
use crate::names::{Name, ProxyId};
use crate::trust::identity::Identity;

/// One id that waits.
#[derive(Debug)]
pub struct Entry<T> {
    /// The link that the FORWARD went down.
    pub link: LinkId,
    /// The registered name of the request.
    pub name: Name,
    /// Whether the FORWARD line is known to have been written.
    pub written: bool,
    /// What waits for the DATA connection.
    pub waiting: T,
    identity: Identity,
    deadline: Instant,
}

/// A DATA connection that matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotClaimed {
    /// Its id is unknown, used, expired or another peer's, or what it showed does not
    /// permit the name. Deliberately one error: a stranger learns nothing from it.
    #[error("no request waits for this DATA connection")]
    Unexpected,
    /// It was asked for, but the client has gone since.
    #[error("the client of this DATA connection has gone")]
    Abandoned,
}

/// The table. `T` is what waits.
#[derive(Debug)]
pub struct Pending<T> {
    entries: BTreeMap<ProxyId, Entry<T>>,
    by_link: BTreeMap<LinkId, OfLink>,
    per_link: usize,
    abandoned: Abandoned,
}

/// The ids that wait for one link.
#[derive(Debug, Default)]
struct OfLink {
    ids: BTreeSet<ProxyId>,
    by_name: BTreeMap<Name, usize>,
}

impl OfLink {
    fn remove<T>(&mut self, id: ProxyId, entry: &Entry<T>) {
        self.ids.remove(&id);
        if let Some(count) = self.by_name.get_mut(&entry.name) {
            *count -= 1;
            if *count == 0 {
                self.by_name.remove(&entry.name);
            }
        }
    }
}

/// Ids whose client went while the FORWARD was under way, until their deadline.
#[derive(Debug, Default)]
struct Abandoned {
    by_id: BTreeMap<ProxyId, Identity>,
    /// In the order of their going, which is near enough that of their deadlines.
    by_time: VecDeque<(Instant, ProxyId)>,
}

impl Abandoned {
    fn add(&mut self, id: ProxyId, identity: Identity, deadline: Instant, now: Instant) {
        let is_over = |(at, _): &mut (Instant, ProxyId)| *at <= now;
        while let Some((_, old)) = self.by_time.pop_front_if(is_over) {
            self.by_id.remove(&old);
        }
        if self.by_time.len() >= ABANDONED
            && let Some((_, old)) = self.by_time.pop_front()
        {
            self.by_id.remove(&old);
        }
        self.by_id.insert(id, identity);
        self.by_time.push_back((deadline, id));
    }
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self::new(PENDING_PER_LINK)
    }
}

impl<T> Pending<T> {
    /// None yet; so many may wait for one link.
    pub fn new(per_link: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_link: BTreeMap::new(),
            per_link,
            abandoned: Abandoned::default(),
        }
    }

    /// How many requests may wait for one link.
    pub fn limit(&self) -> usize {
        self.per_link
    }

    /// From now on so many requests may wait for one link.
    pub fn set_limit(&mut self, per_link: usize) {
        self.per_link = per_link;
    }

    /// Adds an id of a request for `name`, before its FORWARD is written: DATA may be
    /// quick.
    pub fn insert(
        &mut self,
        id: ProxyId,
        link: LinkId,
        name: Name,
        identity: Identity,
        deadline: Instant,
        waiting: T,
    ) {
        let of_link = self.by_link.entry(link).or_default();
        of_link.ids.insert(id);
        *of_link.by_name.entry(name.clone()).or_default() += 1;
        let entry = Entry { link, name, written: false, waiting, identity, deadline };
        self.entries.insert(id, entry);
    }

    /// Whether something waits under this id.
    pub fn contains(&self, id: ProxyId) -> bool {
        self.entries.contains_key(&id)
    }

    /// The FORWARD of this id has been written. Returns what waits, the first
    /// time; `None` when the id has left the table.
    pub fn written(&mut self, id: ProxyId) -> Option<&T> {
        let entry = self.entries.get_mut(&id).filter(|entry| !entry.written)?;
        entry.written = true;
        Some(&entry.waiting)
    }

    /// Takes the entry for a DATA connection that names `id`, if its peer is `permitted`
    /// to carry requests for the entry's name.
    ///
    /// # Errors
    /// [`NotClaimed`]; an entry that belongs to another identity is kept for its
    /// rightful peer, one that is past its deadline for [`expire`](Self::expire).
    pub fn claim(
        &mut self,
        id: ProxyId,
        identity: &Identity,
        now: Instant,
        permitted: impl FnOnce(&Entry<T>) -> bool,
    ) -> Result<Entry<T>, NotClaimed> {
        let Some(entry) = self.entries.get(&id) else {
            let is_own = self.abandoned.by_id.get(&id).is_some_and(|owner| owner == identity);
            return Err(if is_own { NotClaimed::Abandoned } else { NotClaimed::Unexpected });
        };
        if entry.identity != *identity || now >= entry.deadline || !permitted(entry) {
            return Err(NotClaimed::Unexpected);
        }
        self.take(id).ok_or(NotClaimed::Unexpected)
    }

    /// Takes the entry that `link` says it cannot serve; `None` when the id is
    /// not this link's.
    pub fn fail(&mut self, id: ProxyId, link: LinkId) -> Option<Entry<T>> {
        self.entries.get(&id).filter(|entry| entry.link == link)?;
        self.take(id)
    }

    /// Takes the entry whose deadline has come; `None` when it left the table before.
    pub fn expire(&mut self, id: ProxyId) -> Option<Entry<T>> {
        self.take(id)
    }

    /// Takes the entry whose client has gone; `None` when it left the table before. Its
    /// DATA connection may still come and is then not unexpected.
    pub fn abandon(&mut self, id: ProxyId, now: Instant) -> Option<Entry<T>> {
        let entry = self.take(id)?;
        self.abandoned.add(id, entry.identity.clone(), entry.deadline, now);
        Some(entry)
    }

    /// Whether one more request for `name` may wait for a DATA connection of `link`.
    ///
    /// A name takes at most as much as it leaves free, unless it is `alone` on its link;
    /// so does a link of what there is in all. Whoever waits in large numbers for a
    /// backend that does not answer so always leaves room for others.
    pub fn has_room(&self, link: LinkId, name: &Name, alone: bool) -> bool {
        let free_in_all = PENDING.saturating_sub(self.entries.len());
        let Some(of_link) = self.by_link.get(&link) else { return free_in_all > 0 };
        let of_name = of_link.by_name.get(name).copied().unwrap_or(0);
        let free = self.per_link.saturating_sub(of_link.ids.len());
        free > 0 && of_link.ids.len() < free_in_all && (alone || of_name < free)
    }

    fn take(&mut self, id: ProxyId) -> Option<Entry<T>> {
        let entry = self.entries.remove(&id)?;
        if let Some(of_link) = self.by_link.get_mut(&entry.link) {
            of_link.remove(id, &entry);
        }
        Some(entry)
    }

    /// Takes all entries of a link that has ended.
    pub fn purge(&mut self, link: LinkId) -> Vec<Entry<T>> {
        let ids = self.by_link.remove(&link).unwrap_or_default().ids;
        ids.iter().filter_map(|id| self.entries.remove(id)).collect()
    }

    /// The names of the requests that wait behind FORWARD lines that were written.
    pub fn waiting(&self) -> impl Iterator<Item = &Name> {
        self.entries.values().filter(|entry| entry.written).map(|entry| &entry.name)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const OURS: Identity = Identity::Plaintext(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const FOREIGN: Identity = Identity::Plaintext(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)));

    fn id(n: u8) -> ProxyId {
        ProxyId::from_random([n; 16])
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn one_waiting_of(n: u8, deadline: Instant, pending: &mut Pending<&'static str>) -> ProxyId {
        pending.insert(id(n), LinkId(1), name("app"), OURS, deadline, "another");
        id(n)
    }

    fn one_waiting(deadline: Instant) -> Pending<&'static str> {
        let mut pending = Pending::default();
        pending.insert(id(1), LinkId(1), name("app"), OURS, deadline, "request");
        pending
    }

    #[test]
    fn a_foreign_data_connection_does_not_consume_the_entry() {
        let now = Instant::now();
        let mut pending = one_waiting(now + Duration::from_secs(5));
        assert_eq!(
            pending.claim(id(1), &FOREIGN, now, |_| true).unwrap_err(),
            NotClaimed::Unexpected
        );
        let denied = pending.claim(id(1), &OURS, now, |_| false).unwrap_err();
        assert_eq!(denied, NotClaimed::Unexpected, "what it showed does not permit the name");
        assert_eq!(pending.claim(id(1), &OURS, now, |_| true).unwrap().waiting, "request");
        let again = pending.claim(id(1), &OURS, now, |_| true).unwrap_err();
        assert_eq!(again, NotClaimed::Unexpected, "single use");
    }

    #[test]
    fn at_the_deadline_the_entry_is_only_to_be_expired() {
        let deadline = Instant::now();
        let mut pending = one_waiting(deadline);
        assert!(pending.claim(id(1), &OURS, deadline, |_| true).is_err());
        assert!(pending.expire(id(1)).is_some());
        assert!(pending.expire(id(1)).is_none());
        let mut pending = one_waiting(deadline);
        assert!(pending.claim(id(1), &OURS, deadline - Duration::from_nanos(1), |_| true).is_ok());
        assert!(pending.expire(id(1)).is_none());
    }

    #[test]
    fn only_the_link_that_got_the_forward_can_fail_it() {
        let mut pending = one_waiting(Instant::now());
        assert!(pending.fail(id(1), LinkId(2)).is_none());
        assert!(pending.fail(id(1), LinkId(1)).is_some());
    }

    #[test]
    fn a_link_that_does_not_keep_up_has_no_room_left() {
        let mut pending = Pending::default();
        let deadline = Instant::now();
        for n in 0..PENDING_PER_LINK as u128 {
            assert!(pending.has_room(LinkId(1), &name("app"), true));
            let id = ProxyId::from_random(n.to_be_bytes());
            pending.insert(id, LinkId(1), name("app"), OURS, deadline, ());
        }
        assert!(!pending.has_room(LinkId(1), &name("app"), true));
        assert!(pending.has_room(LinkId(2), &name("app"), true));
        pending.expire(ProxyId::from_random([0; 16]));
        assert!(pending.has_room(LinkId(1), &name("app"), true));
    }

    #[test]
    fn a_name_that_does_not_answer_leaves_room_for_its_neighbours() {
        let mut pending = Pending::default();
        let mut ids = (0_u128..).map(|n| ProxyId::from_random(n.to_be_bytes()));
        let mut fill = |pending: &mut Pending<()>, text: &str| {
            let name = name(text);
            let before = pending.entries.len();
            while pending.has_room(LinkId(1), &name, false) {
                let id = ids.next().unwrap();
                pending.insert(id, LinkId(1), name.clone(), OURS, Instant::now(), ());
            }
            pending.entries.len() - before
        };
        assert_eq!(fill(&mut pending, "dead"), PENDING_PER_LINK / 2);
        assert_eq!(fill(&mut pending, "slow"), PENDING_PER_LINK / 4);
        assert!(fill(&mut pending, "good") > 0);
    }

    #[test]
    fn data_for_a_client_that_has_gone_is_not_unexpected_until_its_deadline() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(5);
        let mut pending = one_waiting(deadline);
        assert!(pending.abandon(id(1), now).is_some());
        assert!(pending.abandon(id(1), now).is_none());
        let claim = |pending: &mut Pending<_>, identity| {
            pending.claim(id(1), identity, now, |_| true).unwrap_err()
        };
        assert_eq!(claim(&mut pending, &OURS), NotClaimed::Abandoned);
        assert_eq!(claim(&mut pending, &FOREIGN), NotClaimed::Unexpected);
        let later = one_waiting_of(2, deadline + Duration::from_secs(5), &mut pending);
        assert!(pending.abandon(later, deadline).is_some());
        assert_eq!(claim(&mut pending, &OURS), NotClaimed::Unexpected, "its time is over");
    }

    #[test]
    fn only_a_written_forward_is_waiting() {
        let mut pending = one_waiting(Instant::now());
        assert_eq!(pending.waiting().count(), 0);
        assert_eq!(pending.written(id(1)), Some(&"request"));
        assert_eq!(pending.written(id(1)), None, "counted once");
        assert_eq!(pending.waiting().count(), 1);
        assert_eq!(pending.purge(LinkId(2)).len(), 0);
        assert_eq!(pending.purge(LinkId(1)).len(), 1);
        assert_eq!(pending.waiting().count(), 0);
    }

    proptest! {
        /// Whatever happens, each id leaves the table exactly once.
        #[test]
        fn every_entry_leaves_exactly_once(
            ops in prop::collection::vec((0..6_u8, 0..4_u8, 0..3_u64, any::<bool>(), 0..10_u64), 0..80),
        ) {
            let start = Instant::now();
            let mut pending = Pending::default();
            let (mut inserted, mut left) = (0_usize, 0_usize);
            for (op, n, link, ours, at) in ops {
                let now = start + Duration::from_secs(at);
                let identity = if ours { OURS } else { FOREIGN };
                match op {
                    0 if !pending.entries.contains_key(&id(n)) => {
                        let deadline = start + Duration::from_secs(5);
                        pending.insert(id(n), LinkId(link), name("app"), OURS, deadline, ());
                        inserted += 1;
                    }
                    0 => {}
                    1 => left += usize::from(pending.claim(id(n), &identity, now, |_| true).is_ok()),
                    2 => left += usize::from(pending.fail(id(n), LinkId(link)).is_some()),
                    3 => left += usize::from(pending.expire(id(n)).is_some()),
                    4 => left += usize::from(pending.abandon(id(n), now).is_some()),
                    _ => left += pending.purge(LinkId(link)).len(),
                }
                prop_assert_eq!(inserted - left, pending.entries.len());
                prop_assert_eq!(inserted - left, pending.by_link.values().map(|one| one.ids.len()).sum::<usize>());
            }
        }
    }
}
