//! How many connections are let in: in all, by what they turned out to be, and
//! from one source.
//!
//! Connections whose first bytes are not known yet have slots of their own: slow
//! strangers cannot take the room of requests, nor requests that of the DATA
//! connections which serve them. When these slots are taken, the source that holds most
//! of them loses its oldest, and whoever comes is let in.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, MutexGuard};

use tokio::sync::Notify;

use super::tally::Tally;
use crate::config::Capacity;
use crate::limits::{HANDSHAKES, HEADS, SLOTS_FOR_PEERS};
use crate::lock::Lock;

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection limit is reached")]
pub struct Full;

/// The connection had to make room for others: its source held the most, and it had waited
/// the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its source held the most connections that had not said anything yet")]
pub struct Displaced;

/// What a connection is, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Its first bytes are not known yet.
    Head,
    /// A peer that has not finished its TLS handshake.
    Handshake,
    Public,
    Link,
}

/// Connections that may have to make room, each under its source and in the order of
/// their coming.
#[derive(Debug, Default)]
struct Slots {
    taken: BTreeMap<(IpAddr, u64), Arc<Notify>>,
    by_source: Tally<IpAddr>,
}

impl Slots {
    fn take(&mut self, key: (IpAddr, u64), displaced: &Arc<Notify>) {
        self.taken.insert(key, displaced.clone());
        self.by_source.add(&key.0);
    }

    /// Whether it was still there.
    fn leave(&mut self, key: (IpAddr, u64)) -> bool {
        let was_there = self.taken.remove(&key).is_some();
        if was_there {
            self.by_source.remove(&key.0);
        }
        was_there
    }

    /// Displaces the oldest of `source`; its key.
    fn displace_of(&mut self, source: IpAddr) -> Option<(IpAddr, u64)> {
        let (key, displaced) = self.taken.range((source, 0)..=(source, u64::MAX)).next()?;
        let key = *key;
        displaced.notify_one();
        self.leave(key);
        Some(key)
    }

    /// Displaces the oldest of the source that has most; its key.
    fn displace(&mut self) -> Option<(IpAddr, u64)> {
        let greediest = *self.by_source.greediest()?;
        self.displace_of(greediest)
    }
}

#[derive(Debug, Default)]
struct Counts {
    capacity: Capacity,
    entered: u64,
    heads: Slots,
    handshakes: Slots,
    public: usize,
    /// Connections of all classes but links, for sources that are held to a limit.
    by_source: BTreeMap<IpAddr, usize>,
    links_by_source: BTreeMap<IpAddr, usize>,
}

/// Counts the connections of one peer.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Limited>);

#[derive(Debug)]
struct Limited {
    counts: Lock<Counts>,
}

/// A connection that was let in, until dropped. Small, for idle connections are many.
#[derive(Debug)]
pub struct Ticket {
    admission: Admission,
    class: Class,
    /// Its source, and its number among all that entered.
    key: (IpAddr, u64),
    /// Whether it counts for the limit of its source: a trusted proxy has none.
    is_counted: bool,
    /// Told when it has to make room, as long as it may have to.
    displaced: Option<Arc<Notify>>,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(capacity: Capacity) -> Self {
        let counts = Counts { capacity, ..Counts::default() };
        Self(Arc::new(Limited { counts: Lock::new("the count of connections", counts) }))
    }

    /// From now on so many are let in. Those that are in stay.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.lock().capacity = capacity;
    }

    /// Lets in a connection of which nothing is known but where it comes from.
    ///
    /// # Errors
    /// [`Full`], when its source is at its limit; the connection is then closed, for
    /// nobody knows what it speaks.
    pub fn enter(&self, source: IpAddr) -> Result<Ticket, Full> {
        self.enter_as(source, true)
    }

    /// Lets in a connection of a trusted proxy, which will say whom it speaks for.
    pub fn enter_proxy(&self, proxy: IpAddr) -> Ticket {
        self.enter_as(proxy, false).expect("a proxy has no limit of its own")
    }

    fn enter_as(&self, source: IpAddr, is_counted: bool) -> Result<Ticket, Full> {
        let source = group(source);
        let mut counts = self.lock();
        if is_counted {
            counts.count(source)?;
        }
        if counts.heads.by_source.total() >= HEADS {
            counts.displace_head();
        }
        counts.entered += 1;
        let key = (source, counts.entered);
        let displaced = Arc::default();
        counts.heads.take(key, &displaced);
        drop(counts);
        let (admission, displaced) = (self.clone(), Some(displaced));
        Ok(Ticket { admission, class: Class::Head, key, is_counted, displaced })
    }

    /// A file descriptor is needed: the source that has most silent connections loses its
    /// oldest.
    pub fn displace(&self) {
        self.lock().displace_head();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock()
    }
}

impl Ticket {
    /// A trusted proxy says whom it speaks for.
    ///
    /// # Errors
    /// [`Full`]; the connection is then closed.
    pub fn on_behalf_of(mut self, source: IpAddr) -> Result<Self, Full> {
        let key = (group(source), self.key.1);
        let mut counts = self.admission.lock();
        let displaced = self.displaced.as_ref().filter(|_| counts.heads.leave(self.key));
        let Some(displaced) = displaced else { return Err(Full) };
        let counted = counts.count(key.0);
        counts.heads.take(key, displaced);
        drop(counts);
        self.key = key;
        self.is_counted = counted.is_ok();
        counted.map(|()| self)
    }

    /// What `work` gives, unless this connection has to make room for others first.
    ///
    /// # Errors
    /// [`Displaced`]; the connection is then closed.
    pub async fn unless_displaced<F: Future>(&self, work: F) -> Result<F::Output, Displaced> {
        let Some(displaced) = &self.displaced else { return Ok(work.await) };
        let work = pin!(work);
        tokio::select! {
            biased;
            () = displaced.notified() => Err(Displaced),
            output = work => Ok(output),
        }
    }

    /// It turned out to be a public request, of a client or one that a peer asks for.
    ///
    /// # Errors
    /// [`Full`]; the client is then told so in its protocol.
    pub fn into_public(mut self) -> Result<Self, Full> {
        let mut counts = self.admission.lock();
        let is_full = counts.public >= counts.capacity.connections;
        let slots = match self.class {
            Class::Handshake => &mut counts.handshakes,
            Class::Head | Class::Public | Class::Link => &mut counts.heads,
        };
        if is_full || !slots.leave(self.key) {
            return Err(Full);
        }
        counts.public += 1;
        drop(counts);
        self.displaced = None;
        self.class = Class::Public;
        Ok(self)
    }

    /// It turned out to be a peer, and its TLS handshake begins.
    ///
    /// # Errors
    /// [`Displaced`], when it had to make room just now.
    pub fn into_handshake(mut self) -> Result<Self, Displaced> {
        let mut counts = self.admission.lock();
        let displaced = self.displaced.as_ref().filter(|_| counts.heads.leave(self.key));
        let Some(displaced) = displaced else { return Err(Displaced) };
        if counts.handshakes.by_source.total() >= HANDSHAKES {
            counts.handshakes.displace();
        }
        counts.handshakes.take(self.key, displaced);
        drop(counts);
        self.class = Class::Handshake;
        Ok(self)
    }

    /// It turned out to be a link. Links are bounded by who opens them.
    pub fn into_link(mut self) -> Self {
        let mut counts = self.admission.lock();
        counts.leave(self.class, self.key, self.is_counted);
        *counts.links_by_source.entry(self.key.0).or_default() += 1;
        drop(counts);
        self.displaced = None;
        self.class = Class::Link;
        self
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.lock().leave(self.class, self.key, self.is_counted);
    }
}

impl Counts {
    /// Counts one more connection of `source`. At its limit its oldest silent one makes
    /// room. If it has none, and a link, there are some slots left for its DATA
    /// connections.
    fn count(&mut self, source: IpAddr) -> Result<(), Full> {
        let limit = self.capacity.connections_per_source;
        let count = self.by_source.get(&source).copied().unwrap_or(0);
        if count >= limit && self.heads.displace_of(source).is_none() {
            let has_link = self.links_by_source.contains_key(&source);
            if !has_link || count >= limit + SLOTS_FOR_PEERS {
                return Err(Full);
            }
        }
        *self.by_source.entry(source).or_default() += 1;
        Ok(())
    }

    fn displace_head(&mut self) {
        self.heads.displace();
    }

    fn leave(&mut self, class: Class, key: (IpAddr, u64), is_counted: bool) {
        match class {
            Class::Head => drop(self.heads.leave(key)),
            Class::Handshake => drop(self.handshakes.leave(key)),
            Class::Public => self.public -= 1,
            Class::Link => return take_one(&mut self.links_by_source, key.0),
        }
        if is_counted {
            take_one(&mut self.by_source, key.0);
        }
    }
}

fn take_one(counts: &mut BTreeMap<IpAddr, usize>, source: IpAddr) {
    if let Some(count) = counts.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&source);
        }
    }
}

/// Who has one IPv6 address usually has its /64.
pub fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_source: usize) -> Admission {
        Admission::new(Capacity { connections, connections_per_source, ..Capacity::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn is_displaced(ticket: &Ticket) -> bool {
        ticket.unless_displaced(tokio::task::yield_now()).await.is_err()
    }

    #[test]
    fn behind_a_trusted_proxy_each_client_is_a_source() {
        let admission = admission(10, 1);
        let proxy = ip("10.0.0.9");
        let public = |client| {
            let ticket = admission.enter_proxy(proxy).on_behalf_of(ip(client))?;
            ticket.into_public()
        };
        let first = public("10.0.0.1").unwrap();
        assert_eq!(public("10.0.0.1").unwrap_err(), Full);
        public("10.0.0.2").unwrap();
        drop(first);
        public("10.0.0.1").unwrap();
        assert!(admission.lock().by_source.is_empty());
    }

    #[test]
    fn a_source_at_its_limit_keeps_nobody_else_out() {
        let admission = admission(10, 2);
        let first = admission.enter(ip("10.0.0.1")).unwrap().into_public().unwrap();
        let second = admission.enter(ip("::ffff:10.0.0.1")).unwrap().into_public().unwrap();
        assert_eq!(admission.enter(ip("10.0.0.1")).unwrap_err(), Full);
        admission.enter(ip("10.0.0.2")).unwrap();
        drop(first);
        admission.enter(ip("10.0.0.1")).unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn at_its_limit_a_source_loses_its_oldest_silent_connection() {
        let admission = admission(10, 2);
        let oldest = admission.enter(ip("10.0.0.1")).unwrap();
        let other = admission.enter(ip("10.0.0.1")).unwrap();
        let newest = admission.enter(ip("10.0.0.1")).unwrap();
        assert!(is_displaced(&oldest).await);
        assert!(!is_displaced(&other).await && !is_displaced(&newest).await);
        assert_eq!(oldest.into_public().unwrap_err(), Full);
        newest.into_public().unwrap();
    }

    #[tokio::test]
    async fn when_all_slots_are_taken_the_greediest_source_pays() {
        let admission = admission(10, HEADS + 1);
        let modest = admission.enter(ip("10.0.0.2")).unwrap();
        let silent: Vec<Ticket> =
            (1..HEADS).map(|_| admission.enter(ip("10.0.0.1")).unwrap()).collect();
        let newcomer = admission.enter(ip("10.0.0.3")).unwrap();
        assert!(is_displaced(&silent[0]).await);
        for ticket in [&silent[1], &modest, &newcomer] {
            assert!(!is_displaced(ticket).await);
        }
        drop(silent);
        drop((modest, newcomer));
        let counts = admission.lock();
        assert_eq!(counts.heads.by_source.total(), 0);
        assert!(counts.heads.taken.is_empty() && counts.by_source.is_empty());
    }

    #[tokio::test]
    async fn unfinished_handshakes_have_slots_of_their_own() {
        let admission = admission(10, HANDSHAKES + 2);
        let begin = |source| admission.enter(ip(source)).unwrap().into_handshake().unwrap();
        let greedy: Vec<Ticket> = (0..HANDSHAKES).map(|_| begin("10.0.0.1")).collect();
        let honest = begin("10.0.0.2");
        assert!(is_displaced(&greedy[0]).await);
        assert!(!is_displaced(&greedy[1]).await && !is_displaced(&honest).await);
        assert_eq!(admission.lock().handshakes.by_source.total(), HANDSHAKES);
        drop(honest.into_link());
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let admission = admission(10, 1);
        let _held = admission.enter(ip("2001:db8::1")).unwrap().into_public().unwrap();
        assert_eq!(admission.enter(ip("2001:db8::ffff:1")).unwrap_err(), Full);
        admission.enter(ip("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn requests_at_their_limit_leave_room_for_peers() {
        let admission = admission(1, 10);
        let held = admission.enter(ip("10.0.0.1")).unwrap().into_public().unwrap();
        let refused = admission.enter(ip("10.0.0.1")).unwrap().into_public();
        assert_eq!(refused.unwrap_err(), Full);
        let link = admission.enter(ip("10.0.0.1")).unwrap().into_link();
        drop(held);
        admission.enter(ip("10.0.0.1")).unwrap().into_public().unwrap();
        drop(link);
        let counts = admission.lock();
        assert_eq!((counts.heads.by_source.total(), counts.public), (0, 0));
        assert!(counts.by_source.is_empty(), "nothing is kept of who has left");
        assert!(counts.links_by_source.is_empty());
    }

    #[test]
    fn a_source_with_a_link_keeps_slots_for_its_data_connections() {
        let admission = admission(10, 1);
        let source = ip("10.0.0.1");
        let link = admission.enter(source).unwrap().into_link();
        let _public = admission.enter(source).unwrap().into_public().unwrap();
        let data: Vec<Ticket> = (0..2).map(|_| admission.enter(source).unwrap()).collect();
        drop((data, link));
        assert_eq!(admission.enter(source).unwrap_err(), Full, "without a link, there are none");
    }
}
