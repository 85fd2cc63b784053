//! The proxy ids that wait for their DATA connection.
//!
//! Pure. An entry leaves the table exactly once and hands over what waited on
//! it: by [`claim`](Pending::claim), [`fail`](Pending::fail),
//! [`expire`](Pending::expire) or [`purge`](Pending::purge). So a request is
//! matched or timed out, never both and never neither.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::limits::{PENDING, PENDING_PER_LINK};
use crate::mesh::routes::LinkId;
use crate::names::ProxyId;
use crate::trust::identity::Identity;

/// One id that waits.
#[derive(Debug)]
pub struct Entry<T> {
    /// The link that the FORWARD went down.
    pub link: LinkId,
    /// Whether the FORWARD line is known to have been written.
    pub written: bool,
    /// What waits for the DATA connection.
    pub waiting: T,
    identity: Identity,
    deadline: Instant,
}

/// A DATA connection that matches nothing: its id is unknown, used, expired or
/// another peer's. Deliberately one error: a stranger learns nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no request waits for this DATA connection")]
pub struct Unexpected;

/// The table. `T` is what waits.
#[derive(Debug)]
pub struct Pending<T> {
    entries: BTreeMap<ProxyId, Entry<T>>,
    by_link: BTreeMap<LinkId, usize>,
    per_link: usize,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self::new(PENDING_PER_LINK)
    }
}

impl<T> Pending<T> {
    /// None yet; so many may wait for one link.
    pub fn new(per_link: usize) -> Self {
        Self { entries: BTreeMap::new(), by_link: BTreeMap::new(), per_link }
    }
}

impl<T> Pending<T> {
    /// Adds an id, before its FORWARD is written: DATA may be quick.
    pub fn insert(
        &mut self,
        id: ProxyId,
        link: LinkId,
        identity: Identity,
        deadline: Instant,
        waiting: T,
    ) {
        let entry = Entry { link, written: false, waiting, identity, deadline };
        self.entries.insert(id, entry);
        *self.by_link.entry(link).or_default() += 1;
    }

    /// The FORWARD of this id has been written. Returns what waits, the first
    /// time; `None` when the id has left the table.
    pub fn written(&mut self, id: ProxyId) -> Option<&T> {
        let entry = self.entries.get_mut(&id).filter(|entry| !entry.written)?;
        entry.written = true;
        Some(&entry.waiting)
    }

    /// Takes the entry for a DATA connection that names `id`.
    ///
    /// # Errors
    /// [`Unexpected`]; an entry that belongs to another identity is kept for its
    /// rightful peer, one that is past its deadline for [`expire`](Self::expire).
    pub fn claim(
        &mut self,
        id: ProxyId,
        identity: &Identity,
        now: Instant,
    ) -> Result<Entry<T>, Unexpected> {
        let entry = self.entries.get(&id).ok_or(Unexpected)?;
        if entry.identity != *identity || now >= entry.deadline {
            return Err(Unexpected);
        }
        self.take(id).ok_or(Unexpected)
    }

    /// Takes the entry that `link` says it cannot serve; `None` when the id is
    /// not this link's.
    pub fn fail(&mut self, id: ProxyId, link: LinkId) -> Option<Entry<T>> {
        self.entries.get(&id).filter(|entry| entry.link == link)?;
        self.take(id)
    }

    /// Takes the entry whose deadline has come, or whose request has gone;
    /// `None` when it left the table before.
    pub fn expire(&mut self, id: ProxyId) -> Option<Entry<T>> {
        self.take(id)
    }

    /// Whether one more request may wait for a DATA connection of `link`.
    pub fn has_room(&self, link: LinkId) -> bool {
        let of_link = self.by_link.get(&link).copied().unwrap_or(0);
        of_link < self.per_link && self.entries.len() < PENDING
    }

    fn take(&mut self, id: ProxyId) -> Option<Entry<T>> {
        let entry = self.entries.remove(&id)?;
        if let Some(count) = self.by_link.get_mut(&entry.link) {
            *count -= 1;
            if *count == 0 {
                self.by_link.remove(&entry.link);
            }
        }
        Some(entry)
    }

    /// Takes all entries of a link that has ended.
    pub fn purge(&mut self, link: LinkId) -> Vec<Entry<T>> {
        self.by_link.remove(&link);
        self.entries.extract_if(.., |_, entry| entry.link == link).map(|(_, entry)| entry).collect()
    }

    /// What waits behind FORWARD lines that were written.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.entries.values().filter(|entry| entry.written).map(|entry| &entry.waiting)
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

    fn one_waiting(deadline: Instant) -> Pending<&'static str> {
        let mut pending = Pending::default();
        pending.insert(id(1), LinkId(1), OURS, deadline, "request");
        pending
    }

    #[test]
    fn a_foreign_data_connection_does_not_consume_the_entry() {
        let now = Instant::now();
        let mut pending = one_waiting(now + Duration::from_secs(5));
        assert_eq!(pending.claim(id(1), &FOREIGN, now).unwrap_err(), Unexpected);
        assert_eq!(pending.claim(id(1), &OURS, now).unwrap().waiting, "request");
        assert_eq!(pending.claim(id(1), &OURS, now).unwrap_err(), Unexpected, "single use");
    }

    #[test]
    fn at_the_deadline_the_entry_is_only_to_be_expired() {
        let deadline = Instant::now();
        let mut pending = one_waiting(deadline);
        assert!(pending.claim(id(1), &OURS, deadline).is_err());
        assert!(pending.expire(id(1)).is_some());
        assert!(pending.expire(id(1)).is_none());
        let mut pending = one_waiting(deadline);
        assert!(pending.claim(id(1), &OURS, deadline - Duration::from_nanos(1)).is_ok());
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
            assert!(pending.has_room(LinkId(1)));
            let id = ProxyId::from_random(n.to_be_bytes());
            pending.insert(id, LinkId(1), OURS, deadline, ());
        }
        assert!(!pending.has_room(LinkId(1)));
        assert!(pending.has_room(LinkId(2)));
        pending.expire(ProxyId::from_random([0; 16]));
        assert!(pending.has_room(LinkId(1)));
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
            ops in prop::collection::vec((0..5_u8, 0..4_u8, 0..3_u64, any::<bool>(), 0..10_u64), 0..80),
        ) {
            let start = Instant::now();
            let mut pending = Pending::default();
            let (mut inserted, mut left) = (0_usize, 0_usize);
            for (op, n, link, ours, at) in ops {
                let now = start + Duration::from_secs(at);
                let identity = if ours { OURS } else { FOREIGN };
                match op {
                    0 if !pending.entries.contains_key(&id(n)) => {
                        pending.insert(id(n), LinkId(link), OURS, start + Duration::from_secs(5), ());
                        inserted += 1;
                    }
                    0 => {}
                    1 => left += usize::from(pending.claim(id(n), &identity, now).is_ok()),
                    2 => left += usize::from(pending.fail(id(n), LinkId(link)).is_some()),
                    3 => left += usize::from(pending.expire(id(n)).is_some()),
                    _ => left += pending.purge(LinkId(link)).len(),
                }
                prop_assert_eq!(inserted - left, pending.entries.len());
                prop_assert_eq!(inserted - left, pending.by_link.values().sum::<usize>());
            }
        }
    }
}
