//! How many connections are let in: in all, by what they turned out to be, and
//! from one source.
//!
//! Connections whose first bytes are not known yet have slots of their own: slow
//! strangers cannot take the room of requests, nor requests that of the DATA
//! connections which serve them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use crate::config::Capacity;
use crate::limits::{HEADS, LINKS};

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection limit is reached")]
pub struct Full;

/// What a connection is, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Head,
    Public,
    Link,
    /// Taken over by the request that waited for it, which is counted itself.
    Data,
}

impl Class {
    fn counts_for_source(self) -> bool {
        matches!(self, Self::Head | Self::Public)
    }
}

#[derive(Debug, Default)]
struct Counts {
    heads: usize,
    public: usize,
    links: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// Counts the connections of one peer.
#[derive(Debug, Clone)]
pub struct Admission {
    capacity: Capacity,
    counts: Arc<Mutex<Counts>>,
}

/// A connection that was let in, until dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Admission,
    class: Class,
    source: Option<IpAddr>,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, counts: Arc::default() }
    }

    /// Lets in a connection of which nothing is known but where it comes from;
    /// `None` for a trusted proxy, which will say whom it speaks for.
    ///
    /// # Errors
    /// [`Full`]; the connection is then closed, for nobody knows what it speaks.
    pub fn enter(&self, source: Option<IpAddr>) -> Result<Ticket, Full> {
        let source = source.map(group);
        let mut counts = self.lock();
        if counts.heads >= HEADS || !self.has_room(&counts, source) {
            return Err(Full);
        }
        counts.join(Class::Head, source);
        drop(counts);
        Ok(Ticket { admission: self.clone(), class: Class::Head, source })
    }

    fn has_room(&self, counts: &Counts, source: Option<IpAddr>) -> bool {
        let from_source = source.and_then(|source| counts.by_source.get(&source));
        from_source.is_none_or(|count| *count < self.capacity.connections_per_source)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("counting does not panic")
    }
}

impl Ticket {
    /// A trusted proxy says whom it speaks for.
    ///
    /// # Errors
    /// [`Full`]; the connection is then closed.
    pub fn on_behalf_of(mut self, source: IpAddr) -> Result<Self, Full> {
        let source = Some(group(source));
        let mut counts = self.admission.lock();
        if !self.admission.has_room(&counts, source) {
            return Err(Full);
        }
        counts.leave(self.class, self.source);
        counts.join(self.class, source);
        drop(counts);
        self.source = source;
        Ok(self)
    }

    /// It turned out to be a public request.
    ///
    /// # Errors
    /// [`Full`]; the client is then told so in its protocol.
    pub fn into_public(self) -> Result<Self, Full> {
        self.into_class(Class::Public)
    }

    /// It turned out to be a link.
    ///
    /// # Errors
    /// [`Full`].
    pub fn into_link(self) -> Result<Self, Full> {
        self.into_class(Class::Link)
    }

    /// It turned out to be a DATA connection.
    pub fn into_data(self) {
        // Bounded by the requests that wait for one.
        drop(self.into_class(Class::Data));
    }

    fn into_class(mut self, class: Class) -> Result<Self, Full> {
        let mut counts = self.admission.lock();
        let full = match class {
            Class::Public => counts.public >= self.admission.capacity.connections,
            Class::Link => counts.links >= LINKS,
            Class::Head | Class::Data => false,
        };
        if full {
            return Err(Full);
        }
        counts.leave(self.class, self.source);
        counts.join(class, self.source);
        drop(counts);
        self.class = class;
        Ok(self)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.lock().leave(self.class, self.source);
    }
}

impl Counts {
    fn join(&mut self, class: Class, source: Option<IpAddr>) {
        if let Some(count) = self.of(class) {
            *count += 1;
        }
        if let Some(source) = source.filter(|_| class.counts_for_source()) {
            *self.by_source.entry(source).or_default() += 1;
        }
    }

    fn leave(&mut self, class: Class, source: Option<IpAddr>) {
        if let Some(count) = self.of(class) {
            *count -= 1;
        }
        if let Some(source) = source.filter(|_| class.counts_for_source())
            && let Some(count) = self.by_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }

    fn of(&mut self, class: Class) -> Option<&mut usize> {
        match class {
            Class::Head => Some(&mut self.heads),
            Class::Public => Some(&mut self.public),
            Class::Link => Some(&mut self.links),
            Class::Data => None,
        }
    }
}

/// Who has one IPv6 address usually has its /64.
fn group(source: IpAddr) -> IpAddr {
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

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn behind_a_trusted_proxy_each_client_is_a_source() {
        let admission = admission(10, 1);
        let client = ip("10.0.0.1").unwrap();
        let first = admission.enter(None).unwrap().on_behalf_of(client).unwrap();
        assert_eq!(admission.enter(None).unwrap().on_behalf_of(client).unwrap_err(), Full);
        drop(first);
        drop(admission.enter(None).unwrap().on_behalf_of(client).unwrap());
        assert!(admission.lock().by_source.is_empty());
    }

    #[test]
    fn a_source_at_its_limit_keeps_nobody_else_out() {
        let admission = admission(10, 2);
        let first = admission.enter(ip("10.0.0.1")).unwrap();
        let second = admission.enter(ip("::ffff:10.0.0.1")).unwrap().into_public().unwrap();
        assert_eq!(admission.enter(ip("10.0.0.1")).unwrap_err(), Full);
        admission.enter(ip("10.0.0.2")).unwrap();
        drop(first);
        admission.enter(ip("10.0.0.1")).unwrap();
        drop(second);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let admission = admission(10, 1);
        let _held = admission.enter(ip("2001:db8::1")).unwrap();
        assert_eq!(admission.enter(ip("2001:db8::ffff:1")).unwrap_err(), Full);
        admission.enter(ip("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn requests_at_their_limit_leave_room_for_peers() {
        let admission = admission(1, 10);
        let held = admission.enter(ip("10.0.0.1")).unwrap().into_public().unwrap();
        let refused = admission.enter(ip("10.0.0.1")).unwrap().into_public();
        assert_eq!(refused.unwrap_err(), Full);
        let link = admission.enter(ip("10.0.0.1")).unwrap().into_link().unwrap();
        admission.enter(ip("10.0.0.1")).unwrap().into_data();
        drop(held);
        admission.enter(ip("10.0.0.1")).unwrap().into_public().unwrap();
        drop(link);
        let counts = admission.lock();
        assert_eq!((counts.heads, counts.public, counts.links), (0, 0, 0));
        assert!(counts.by_source.is_empty(), "nothing is kept of who has left");
    }
}
