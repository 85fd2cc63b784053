//! Who sends to a port, and what of it waits to be carried on: decisions only.
//!
//! Anybody can send from any number of forged addresses. When no more requests may be open, the
//! source that has the most loses the one that was idle for the longest, and whoever comes is
//! let in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::UDP_SOURCE_SHARE;
use crate::mesh::admission::group;
use crate::mesh::tally::Tally;
use crate::wire::datagrams::{DATAGRAM_HEADER_BYTES, measure, put};

/// How much one port may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Requests.
    pub(super) requests: usize,
    /// Waiting bytes of a request.
    pub(super) waiting: usize,
    /// Waiting bytes of all.
    pub(super) waiting_in_all: usize,
}

/// The clients of one port.
#[derive(Debug)]
pub(super) struct Clients {
    bounds: Bounds,
    requests: BTreeMap<Client, Waiting>,
    by_source: Tally<IpAddr>,
    /// Waiting bytes of all.
    waiting: usize,
    /// How many requests there were so far.
    begun: u64,
}

/// A client: its source, and its address.
type Client = (IpAddr, SocketAddr);

/// One request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    client: Client,
    /// Its number among all of the port.
    number: u64,
}

impl Place {
    /// The client.
    pub(super) fn client(self) -> SocketAddr {
        self.client.1
    }
}

/// What waits for a request to carry it on.
#[derive(Debug)]
struct Waiting {
    number: u64,
    datagrams: BytesMut,
    /// When a datagram came last, either way.
    last: Instant,
    /// Told of new datagrams, and that the request has to make room.
    told: Arc<Notify>,
}

/// What becomes of a datagram that came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It waits for its request, which is told.
    Waits,
    /// More wait than may.
    Dropped,
    /// It waits for a request that is to be begun, and is told by this.
    Begins(Place, Arc<Notify>, Option<MadeRoom>),
}

/// A request had to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MadeRoom {
    /// Whose it was.
    pub(super) client: SocketAddr,
    /// Datagrams that still waited.
    pub(super) lost: usize,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Datagrams were taken.
    Taken,
    /// None wait.
    Nothing,
    /// It had to make room for another.
    Displaced,
}

impl Clients {
    /// Nobody yet.
    pub(super) fn new(bounds: Bounds) -> Self {
        let (requests, by_source) = (BTreeMap::new(), Tally::default());
        Self { bounds, requests, by_source, waiting: 0, begun: 0 }
    }

    /// From now on so many requests may run at a time. Those that run go on.
    pub(super) fn set_limit(&mut self, requests: usize) {
        self.bounds.requests = requests;
    }

    /// A datagram of a client came.
    pub(super) fn arrive(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Arrival {
        let client = (group(from.ip()), from);
        let length = DATAGRAM_HEADER_BYTES + datagram.len();
        let held = self.requests.get(&client).map_or(0, |waiting| waiting.datagrams.len());
        if held + length > self.bounds.waiting || self.waiting + length > self.bounds.waiting_in_all
        {
            return Arrival::Dropped;
        }
        if let Some(waiting) = self.requests.get_mut(&client) {
            put(datagram, &mut waiting.datagrams);
            waiting.last = now;
            waiting.told.notify_one();
            self.waiting += length;
            return Arrival::Waits;
        }
        let made_room = self.make_room(client.0);
        self.begun += 1;
        let (place, told) = (Place { client, number: self.begun }, Arc::<Notify>::default());
        let mut datagrams = BytesMut::with_capacity(length);
        put(datagram, &mut datagrams);
        self.waiting += length;
        self.by_source.add(&client.0);
        let waiting = Waiting { number: place.number, datagrams, last: now, told: told.clone() };
        self.requests.insert(client, waiting);
        Arrival::Begins(place, told, made_room)
    }

    /// Moves all that waits for a request to `into`.
    pub(super) fn take(&mut self, place: Place, into: &mut BytesMut) -> Standing {
        let Some(waiting) = self.of(place) else { return Standing::Displaced };
        let datagrams = std::mem::take(&mut waiting.datagrams);
        if datagrams.is_empty() {
            return Standing::Nothing;
        }
        self.waiting -= datagrams.len();
        into.unsplit(datagrams);
        Standing::Taken
    }

    /// Datagrams went to a client.
    pub(super) fn answered(&mut self, place: Place, now: Instant) {
        if let Some(waiting) = self.of(place) {
            waiting.last = now;
        }
    }

    /// Whether the request has its place still.
    pub(super) fn has(&self, place: Place) -> bool {
        self.requests.get(&place.client).is_some_and(|waiting| waiting.number == place.number)
    }

    /// The request has ended; how many datagrams waited for it.
    pub(super) fn leave(&mut self, place: Place) -> usize {
        if self.has(place) { self.remove(place.client) } else { 0 }
    }

    /// The request has ended, and leaves unless datagrams wait that came meanwhile; whether it
    /// has left.
    pub(super) fn leave_if_nothing_waits(&mut self, place: Place) -> bool {
        let waits = self.of(place).is_some_and(|waiting| !waiting.datagrams.is_empty());
        if !waits {
            self.leave(place);
        }
        !waits
    }

    fn of(&mut self, place: Place) -> Option<&mut Waiting> {
        let waiting = self.requests.get_mut(&place.client);
        waiting.filter(|waiting| waiting.number == place.number)
    }

    fn remove(&mut self, client: Client) -> usize {
        let Some(waiting) = self.requests.remove(&client) else { return 0 };
        self.by_source.remove(&client.0);
        self.waiting -= waiting.datagrams.len();
        waiting.told.notify_one();
        measure(&waiting.datagrams).datagrams
    }

    /// Makes room for a request of `source`.
    fn make_room(&mut self, source: IpAddr) -> Option<MadeRoom> {
        let share = (self.bounds.requests / UDP_SOURCE_SHARE).max(1);
        let most = if self.by_source.of(&source) >= share {
            source
        } else if self.by_source.total() >= self.bounds.requests {
            *self.by_source.greediest()?
        } else {
            return None;
        };
        let idle = |(client, waiting): (&Client, &Waiting)| (waiting.last, *client);
        let longest = match self.by_source.of(&most) {
            // All have as many: the one that was idle for the longest among all.
            1 => self.requests.iter().map(idle).min(),
            _ => {
                let first = SocketAddr::from(([0, 0, 0, 0], 0));
                let of_source = self.requests.range((most, first)..);
                of_source.take_while(|((source, _), _)| *source == most).map(idle).min()
            }
        };
        let (_, client) = longest?;
        Some(MadeRoom { client: client.1, lost: self.remove(client) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds { requests: 10, waiting: 20, waiting_in_all: 50 };

    struct Port {
        clients: Clients,
        now: Instant,
    }

    impl Port {
        fn new() -> Self {
            Self { clients: Clients::new(BOUNDS), now: Instant::now() }
        }

        fn arrive(&mut self, from: &str, datagram: &[u8]) -> Arrival {
            self.now += Duration::from_secs(1);
            self.clients.arrive(from.parse().unwrap(), datagram, self.now)
        }

        fn begin(&mut self, from: &str) -> (Place, Option<SocketAddr>) {
            match self.arrive(from, b"") {
                Arrival::Begins(place, _, made_room) => (place, made_room.map(|one| one.client)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_datagrams_of_one_address_wait_for_one_request_in_their_order() {
        let mut port = Port::new();
        let Arrival::Begins(place, ..) = port.arrive("10.0.0.1:1", b"one") else { panic!() };
        assert!(matches!(port.arrive("10.0.0.1:1", b""), Arrival::Waits));
        let Arrival::Begins(other, ..) = port.arrive("10.0.0.1:2", b"two") else { panic!() };
        let mut taken = BytesMut::new();
        assert_eq!(port.clients.take(place, &mut taken), Standing::Taken);
        assert_eq!(&taken[..], b"\0\x03one\0\0");
        assert_eq!(port.clients.take(place, &mut taken), Standing::Nothing);
        assert!(port.clients.leave_if_nothing_waits(place));
        assert!(!port.clients.leave_if_nothing_waits(other), "its datagram is still to go");
        assert_eq!(port.clients.leave(other), 1);
        assert_eq!((port.clients.waiting, port.clients.by_source.total()), (0, 0));
    }

    #[test]
    fn no_more_waits_than_may() {
        let mut port = Port::new();
        let Arrival::Begins(place, ..) = port.arrive("10.0.0.1:1", &[1; 18]) else { panic!() };
        assert!(matches!(port.arrive("10.0.0.1:1", b""), Arrival::Dropped), "of one");
        assert!(matches!(port.arrive("10.0.0.2:1", &[1; 18]), Arrival::Begins(..)));
        assert!(matches!(port.arrive("10.0.0.3:1", &[1; 9]), Arrival::Dropped), "of all");
        port.clients.leave(place);
        assert!(matches!(port.arrive("10.0.0.3:1", &[1; 9]), Arrival::Begins(..)));
        assert!(matches!(port.arrive("10.0.0.4:1", &[1; 19]), Arrival::Dropped), "a new one");
    }

    #[test]
    fn at_its_share_a_source_loses_its_longest_idle_request() {
        let mut port = Port::new();
        let (first, _) = port.begin("10.0.0.1:1");
        let (second, _) = port.begin("10.0.0.1:2");
        let (other, _) = port.begin("10.0.0.2:1");
        port.now += Duration::from_secs(1);
        port.clients.answered(first, port.now);
        assert_eq!(port.begin("10.0.0.1:3").1, Some(addr("10.0.0.1:2")));
        assert_eq!(port.clients.take(second, &mut BytesMut::new()), Standing::Displaced);
        assert!(port.clients.has(first) && port.clients.has(other));
        assert_eq!(port.clients.leave(second), 0, "it has left already");
        assert_eq!(port.begin("10.0.0.1:2").1, Some(addr("10.0.0.1:1")), "a new one in its place");
        assert!(!port.clients.has(second), "which is not the old one");
    }

    #[test]
    fn when_no_more_may_be_open_the_greediest_pays() {
        let mut port = Port::new();
        let (idle, _) = port.begin("10.0.0.1:1");
        for n in 2..=8 {
            port.begin(&format!("10.0.0.{n}:1"));
        }
        port.begin("10.0.0.9:1");
        port.begin("10.0.0.9:2");
        assert_eq!(port.begin("10.0.1.1:1").1, Some(addr("10.0.0.9:1")));
        assert_eq!(port.begin("10.0.1.2:1").1, Some(addr("10.0.0.1:1")), "all have one");
        assert!(!port.clients.has(idle));
        assert_eq!(port.clients.by_source.total(), BOUNDS.requests);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let mut port = Port::new();
        port.begin("[2001:db8::1]:1");
        port.begin("[2001:db8::2]:1");
        assert_eq!(port.begin("[2001:db8::3]:1").1, Some(addr("[2001:db8::1]:1")));
    }
}
