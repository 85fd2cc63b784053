//! Which admin connections there are, which of them scrape, and which is closed
//! at a limit. This decides; [`places`](super::places) acts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;

use crate::limits::{
    ADMIN_CONNECTIONS, ADMIN_SCRAPE_STALL, ADMIN_SCRAPE_WAIT, ADMIN_SCRAPES, ADMIN_SCRAPES_WAITING,
    ADMIN_STREAMS, ADMIN_STREAMS_PER_SOURCE,
};

/// One connection; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64);

/// All admin connections. Each has a lifeline, which is returned when it is to be closed.
#[derive(Debug)]
pub(super) struct Connections<L> {
    known: BTreeMap<Id, Connection<L>>,
    came: u64,
}

#[derive(Debug)]
struct Connection<L> {
    source: IpAddr,
    lifeline: L,
    /// When it came, when its request did, or when it last took a piece of its answer.
    moved: Instant,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not asked for anything yet, or takes an answer that is no scrape.
    Brief,
    /// It waits for its scrape to begin.
    Waiting { since: Instant },
    /// A scrape is written to it.
    Scraping,
    /// It keeps a status page up to date.
    Streaming { since: Instant },
}

/// Its source has as many streams as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyStreams;

/// What a connection that waits for its scrape is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<L> {
    /// Its scrape begins. Whoever held its place, and did not move, is to be closed.
    Begin(Option<L>),
    /// Ask again at this time, or when anything has changed.
    Wait(Instant),
    /// There will be no scrape.
    Refused,
}

impl<L> Connection<L> {
    fn is_brief(&self) -> bool {
        self.stage == Stage::Brief
    }

    fn is_scraping(&self) -> bool {
        self.stage == Stage::Scraping
    }

    fn waits_since(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { since } => Some(since),
            Stage::Brief | Stage::Scraping | Stage::Streaming { .. } => None,
        }
    }

    fn streams_since(&self) -> Option<Instant> {
        match self.stage {
            Stage::Streaming { since } => Some(since),
            Stage::Brief | Stage::Scraping | Stage::Waiting { .. } => None,
        }
    }

    fn is_streaming(&self) -> bool {
        self.streams_since().is_some()
    }

    fn stalls_at(&self) -> Instant {
        self.moved + ADMIN_SCRAPE_STALL
    }
}

impl<L> Connections<L> {
    /// Nobody has come yet.
    pub(super) fn new() -> Self {
        Self { known: BTreeMap::new(), came: 0 }
    }

    /// Someone has come, and is let in. At [`ADMIN_CONNECTIONS`], another is closed: a stream,
    /// which comes back by itself, if there is one; else, of the source with the most
    /// connections, the one that has not moved for the longest. Scrapes have limits of their
    /// own, and stay.
    pub(super) fn enter(&mut self, source: IpAddr, lifeline: L, now: Instant) -> (Id, Option<L>) {
        let full = self.known.len() >= ADMIN_CONNECTIONS;
        let first = || {
            let brief = || self.of_greediest(Connection::is_brief, |id, one| (one.moved, id));
            self.oldest_stream().or_else(brief)
        };
        let let_go = full.then(first).flatten().and_then(|id| self.leave(id));
        self.came += 1;
        let (id, source) = (Id(self.came), source.to_canonical());
        self.known.insert(id, Connection { source, lifeline, moved: now, stage: Stage::Brief });
        (id, let_go)
    }

    /// It is gone. One that was let go is so already.
    pub(super) fn leave(&mut self, id: Id) -> Option<L> {
        self.known.remove(&id).map(|connection| connection.lifeline)
    }

    /// Its request came, or it took a piece of its answer.
    pub(super) fn moved(&mut self, id: Id, now: Instant) {
        if let Some(connection) = self.known.get_mut(&id) {
            connection.moved = now;
        }
    }

    /// It is to keep a status page up to date. At [`ADMIN_STREAMS`], another such is closed.
    pub(super) fn stream(&mut self, id: Id, now: Instant) -> Result<Option<L>, TooManyStreams> {
        let Some(source) = self.known.get(&id).map(|one| one.source) else {
            return Err(TooManyStreams);
        };
        let of_source = self.count(|one| one.is_streaming() && one.source == source);
        if of_source >= ADMIN_STREAMS_PER_SOURCE {
            return Err(TooManyStreams);
        }
        let full = self.count(Connection::is_streaming) >= ADMIN_STREAMS;
        let oldest = full.then(|| self.oldest_stream()).flatten();
        let let_go = oldest.and_then(|id| self.leave(id));
        self.set(id, Stage::Streaming { since: now });
        Ok(let_go)
    }

    /// Whether it keeps a status page up to date.
    pub(super) fn is_stream(&self, id: Id) -> bool {
        self.known.get(&id).is_some_and(Connection::is_streaming)
    }

    /// Of the source with the most streams, the one that began first.
    fn oldest_stream(&self) -> Option<Id> {
        self.of_greediest(Connection::is_streaming, |id, one| (one.streams_since(), id))
    }

    /// It asks for a scrape, and takes its [`turn`](Self::turn) from then on. When more
    /// than [`ADMIN_SCRAPES_WAITING`] wait, one is refused: of the source with the most
    /// that wait, the one that came last.
    pub(super) fn ask(&mut self, id: Id, now: Instant) {
        self.set(id, Stage::Waiting { since: now });
        let waits = |one: &Connection<L>| one.waits_since().is_some();
        if self.count(waits) > ADMIN_SCRAPES_WAITING {
            let last = self.of_greediest(waits, |id, one| Reverse((one.waits_since(), id)));
            last.into_iter().for_each(|id| self.set(id, Stage::Brief));
        }
    }

    /// Whether the scrape of `id` begins. First is whose source has the fewest scrapes,
    /// and of those, who waits longest. With [`ADMIN_SCRAPES`] under way it takes the
    /// place of one that has not moved for [`ADMIN_SCRAPE_STALL`].
    pub(super) fn turn(&mut self, id: Id, now: Instant) -> Turn<L> {
        let Some(since) = self.known.get(&id).and_then(Connection::waits_since) else {
            return Turn::Refused;
        };
        let last = since + ADMIN_SCRAPE_WAIT;
        if now >= last {
            self.set(id, Stage::Brief);
            return Turn::Refused;
        }
        if self.first_in_line() != Some(id) {
            return Turn::Wait(last);
        }
        let mut let_go = None;
        if self.count(Connection::is_scraping) >= ADMIN_SCRAPES {
            let stalled = |one: &Connection<L>| one.is_scraping() && now >= one.stalls_at();
            let Some(longest) = self.of_greediest(stalled, |id, one| (one.moved, id)) else {
                let scraping = self.known.values().filter(|one| one.is_scraping());
                let next = scraping.map(Connection::stalls_at).min();
                return Turn::Wait(next.map_or(last, |next| next.min(last)));
            };
            let_go = self.leave(longest);
        }
        self.set(id, Stage::Scraping);
        self.moved(id, now);
        Turn::Begin(let_go)
    }

    /// Its scrape has ended, or all that is left of it is one piece.
    pub(super) fn scraped(&mut self, id: Id) {
        self.set(id, Stage::Brief);
    }

    fn set(&mut self, id: Id, stage: Stage) {
        if let Some(connection) = self.known.get_mut(&id) {
            connection.stage = stage;
        }
    }

    fn count(&self, is_one: impl Fn(&Connection<L>) -> bool) -> usize {
        self.known.values().filter(|one| is_one(one)).count()
    }

    /// Of all that are one, from the source that has the most of them, the first in
    /// this order.
    fn of_greediest<K: Ord>(
        &self,
        is_one: impl Fn(&Connection<L>) -> bool,
        order: impl Fn(Id, &Connection<L>) -> K,
    ) -> Option<Id> {
        let of_source = |source| self.count(|one| is_one(one) && one.source == source);
        let all = self.known.iter().filter(|(_, one)| is_one(one));
        let first = all.min_by_key(|(id, one)| (Reverse(of_source(one.source)), order(**id, one)));
        first.map(|(id, _)| *id)
    }

    fn first_in_line(&self) -> Option<Id> {
        let scrapes = |source| self.count(|one| one.is_scraping() && one.source == source);
        let waiting = self.known.iter().filter_map(|(id, one)| Some((id, one, one.waits_since()?)));
        let first = waiting.min_by_key(|(id, one, since)| (scrapes(one.source), *since, **id));
        first.map(|(id, ..)| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// Connections, and a clock that each event moves on by a [`TICK`]. A lifeline says
    /// whose it is.
    struct Server {
        connections: Connections<&'static str>,
        now: Instant,
    }

    impl Server {
        fn new() -> Self {
            Self { connections: Connections::new(), now: Instant::now() }
        }

        fn source(host: u8) -> IpAddr {
            IpAddr::from([127, 0, 0, host])
        }

        fn enter(&mut self, host: u8, who: &'static str) -> (Id, Option<&'static str>) {
            self.now += TICK;
            self.connections.enter(Self::source(host), who, self.now)
        }

        /// Has one ask for a scrape.
        fn scraper(&mut self, host: u8, who: &'static str) -> Id {
            let (id, _) = self.enter(host, who);
            self.now += TICK;
            self.connections.ask(id, self.now);
            id
        }

        fn turn(&mut self, id: Id) -> Turn<&'static str> {
            self.connections.turn(id, self.now)
        }

        fn fill(&mut self, host: u8, who: &'static str) {
            while self.connections.known.len() < ADMIN_CONNECTIONS {
                self.enter(host, who);
            }
        }

        /// As many scrapes as there may be, of this source.
        fn scrape(&mut self, host: u8, who: &'static str) -> Vec<Id> {
            let begin = |_| {
                let id = self.scraper(host, who);
                assert_eq!(self.turn(id), Turn::Begin(None));
                id
            };
            (0..ADMIN_SCRAPES).map(begin).collect()
        }
    }

    #[test]
    fn at_the_limit_who_has_not_moved_for_the_longest_is_let_go_and_never_the_newcomer() {
        let mut server = Server::new();
        let (first, _) = server.enter(1, "first");
        server.enter(1, "second");
        server.fill(1, "silent");
        server.connections.moved(first, server.now);
        assert_eq!(server.enter(1, "new").1, Some("second"));
        assert_eq!(server.enter(1, "new").1, Some("silent"));
        assert_eq!(server.connections.known.len(), ADMIN_CONNECTIONS);
    }

    #[test]
    fn a_source_that_takes_everything_makes_room_for_the_others() {
        let mut server = Server::new();
        for _ in 0..3 {
            server.enter(2, "modest");
        }
        server.fill(1, "greedy");
        for _ in 3..ADMIN_CONNECTIONS / 2 {
            assert_eq!(server.enter(3, "new").1, Some("greedy"));
        }
    }

    #[test]
    fn the_connections_of_one_ipv4_address_are_one_source_however_they_come() {
        let mut server = Server::new();
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]);
        for _ in 0..ADMIN_CONNECTIONS / 2 - 1 {
            server.connections.enter(mapped, "mapped", server.now);
        }
        server.fill(1, "plain");
        assert_eq!(server.enter(1, "new").1, Some("mapped"));
    }

    #[test]
    fn scrapes_stay_when_others_come() {
        let mut server = Server::new();
        let scraping = server.scrape(1, "scraping");
        let waiting = server.scraper(1, "waiting");
        server.fill(1, "silent");
        for _ in 0..2 * ADMIN_CONNECTIONS {
            let let_go = server.enter(1, "silent").1;
            assert_eq!(let_go, Some("silent"));
        }
        server.connections.scraped(scraping[0]);
        assert_eq!(server.turn(waiting), Turn::Begin(None));
        assert_eq!(server.enter(1, "new").1, Some("scraping"), "its scrape is over");
    }

    #[test]
    fn a_scrape_waits_for_one_that_moves_and_takes_the_place_of_one_that_does_not() {
        let mut server = Server::new();
        let scraping = server.scrape(1, "stalled");
        server.now += ADMIN_SCRAPE_STALL - TICK;
        let waiting = server.scraper(1, "waiting");
        let moved = server.now;
        scraping.iter().for_each(|id| server.connections.moved(*id, moved));
        let stalls = moved + ADMIN_SCRAPE_STALL;
        assert_eq!(server.turn(waiting), Turn::Wait(stalls));
        server.now = stalls;
        assert_eq!(server.turn(waiting), Turn::Begin(Some("stalled")));
        assert_eq!(server.connections.count(Connection::is_scraping), ADMIN_SCRAPES);
    }

    #[test]
    fn a_scrape_that_has_waited_for_long_enough_is_refused() {
        let mut server = Server::new();
        let scraping = server.scrape(1, "slow");
        let waiting = server.scraper(1, "waiting");
        let asked = server.now;
        while server.now < asked + ADMIN_SCRAPE_WAIT {
            let Turn::Wait(until) = server.turn(waiting) else { panic!("there is no place") };
            assert!(until > server.now && until <= asked + ADMIN_SCRAPE_WAIT);
            server.now = until.min(server.now + ADMIN_SCRAPE_STALL / 2);
            scraping.iter().for_each(|id| server.connections.moved(*id, server.now));
        }
        assert_eq!(server.turn(waiting), Turn::Refused);
        assert_eq!(server.turn(waiting), Turn::Refused, "once and for all");
    }

    #[test]
    fn the_source_with_the_fewest_scrapes_is_first_and_then_who_waits_longest() {
        let mut server = Server::new();
        let scraping = server.scrape(1, "greedy");
        let greedy = [server.scraper(1, "greedy"), server.scraper(1, "greedy")];
        let modest = server.scraper(2, "modest");
        server.connections.scraped(scraping[0]);
        for waits in greedy {
            assert!(matches!(server.turn(waits), Turn::Wait(_)));
        }
        assert_eq!(server.turn(modest), Turn::Begin(None));
        server.connections.scraped(scraping[1]);
        assert!(matches!(server.turn(greedy[1]), Turn::Wait(_)));
        assert_eq!(server.turn(greedy[0]), Turn::Begin(None));
    }

    #[test]
    fn when_too_many_wait_the_last_of_the_greediest_source_is_refused() {
        let mut server = Server::new();
        server.scrape(1, "scraping");
        let waiting: Vec<Id> =
            (0..ADMIN_SCRAPES_WAITING).map(|_| server.scraper(1, "greedy")).collect();
        let more = server.scraper(1, "greedy");
        assert_eq!(server.turn(more), Turn::Refused);
        let modest = server.scraper(2, "modest");
        let (last, others) = waiting.split_last().unwrap();
        assert_eq!(server.turn(*last), Turn::Refused);
        for waits in others.iter().chain([&modest]) {
            assert!(matches!(server.turn(*waits), Turn::Wait(_)));
        }
    }

    #[test]
    fn a_source_has_a_few_streams_and_all_have_no_more_than_there_may_be() {
        let mut server = Server::new();
        let stream = |server: &mut Server, host, who| {
            let (id, _) = server.enter(host, who);
            let streamed = server.connections.stream(id, server.now);
            streamed.map(|let_go| (id, let_go))
        };
        let first = stream(&mut server, 1, "first").unwrap().0;
        for _ in 1..ADMIN_STREAMS_PER_SOURCE {
            assert_eq!(stream(&mut server, 1, "more").unwrap().1, None);
        }
        assert_eq!(stream(&mut server, 1, "one too many"), Err(TooManyStreams));
        for host in 0..(ADMIN_STREAMS - ADMIN_STREAMS_PER_SOURCE) as u8 {
            assert_eq!(stream(&mut server, 10 + host, "modest").unwrap().1, None);
        }
        assert!(server.connections.is_stream(first));
        assert_eq!(stream(&mut server, 99, "new").unwrap().1, Some("first"));
        assert!(!server.connections.is_stream(first));
    }

    #[test]
    fn a_stream_is_the_first_to_be_let_go() {
        let mut server = Server::new();
        let (id, _) = server.enter(1, "stream");
        server.connections.stream(id, server.now).unwrap();
        server.fill(2, "silent");
        server.connections.moved(id, server.now);
        assert_eq!(server.enter(2, "new").1, Some("stream"), "although it moved last");
        assert_eq!(server.enter(2, "new").1, Some("silent"));
    }

    #[test]
    fn who_was_let_go_is_known_no_more() {
        let mut server = Server::new();
        let (gone, _) = server.enter(1, "gone");
        assert_eq!(server.connections.leave(gone), Some("gone"));
        server.connections.ask(gone, server.now);
        assert_eq!(server.turn(gone), Turn::Refused);
        assert_eq!(server.connections.leave(gone), None);
    }
}
