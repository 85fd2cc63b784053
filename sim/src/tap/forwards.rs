//! What became of each FORWARD, as overheard on the wire: what a listening peer
//! counts must agree with what it was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ops_proxy::names::ProxyId;
use ops_proxy::wire::{Line, Requested};

use crate::connection::{End, Pair};

/// A listening peer's host and one of its names.
type Key = (IpAddr, String);

/// A request that one listening peer has asked another peer for: it keeps its id on every
/// hop, and with the second provider that is asked.
type Hop = (IpAddr, ProxyId, IpAddr);

/// What was overheard for one name at one listening peer since its start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// DATA lines that came from the peer that was asked.
    pub answered: u64,
    /// FAIL lines that the listening peer has read, on the link that it asked on.
    pub refused: u64,
    /// FAIL lines read after the same peer's DATA line: it takes back what may have
    /// been turned away at the door, or breaks what was matched.
    pub taken_back: u64,
}

#[derive(Debug)]
struct Forward {
    key: Key,
    /// The link and the idle DATA connection that it went down, if not only one.
    conns: Vec<u64>,
    /// A DATA was its answer.
    answered: bool,
    /// A FAIL was, or came after.
    refused: bool,
}

/// The lines of one link from the connecting peer.
#[derive(Debug, Default)]
struct Incoming {
    written: u64,
    read: u64,
    /// FAIL lines that were not read yet, each with the position of its end.
    fails: VecDeque<(u64, Hop)>,
}

/// Lines of a listening peer on a link after which a lost FORWARD must have been
/// among them: those for as many clients as come at once, which may be under way, and some.
const LINES_BEFORE_ANOTHER: usize = 12;

/// A FORWARD that was lost with its idle DATA connection.
#[derive(Debug)]
struct Lost {
    hop: Hop,
    /// Where it must be sent again, as long as this is open.
    link: u64,
    /// Lines that the listening peer has written there since.
    lines: usize,
}

/// All FORWARD lines of a run.
#[derive(Debug, Default)]
pub struct Forwards {
    by_hop: BTreeMap<Hop, Forward>,
    links: BTreeMap<u64, Incoming>,
    tallies: BTreeMap<Key, Tally>,
    /// The last FORWARD of each link for each public client; of those that are passed on,
    /// for each of them.
    asked_for: BTreeMap<(u64, SocketAddr, Option<ProxyId>), Hop>,
    /// What each host was asked for, which it may pass on.
    asked_of: BTreeSet<(IpAddr, ProxyId)>,
    twice: Option<String>,
    lost: Vec<Lost>,
    given_up: Option<ProxyId>,
}

impl Forwards {
    /// One end of connection `conn` wrote `bytes`, which ended these lines.
    pub fn wrote(&mut self, conn: u64, pair: Pair, end: End, bytes: usize, lines: &[String]) {
        if end == End::Dialler {
            self.links.entry(conn).or_default().written += bytes as u64;
        }
        if end == End::Acceptor && lines.is_empty() {
            // A client that gets an answer may go on with another request.
            self.asked_for.retain(|(_, source, _), _| *source != pair.dialler);
        }
        let (here, asked) = (pair.acceptor.ip(), pair.dialler.ip());
        for line in lines {
            match (Line::parse(line.as_bytes()), end) {
                (Ok(Line::Forward(id, Requested { name, source, .. })), End::Acceptor) => {
                    let (key, hop) = ((here, name.to_string()), (here, id, asked));
                    let new =
                        || Forward { key, conns: Vec::new(), answered: false, refused: false };
                    self.by_hop.entry(hop).or_insert_with(new).conns.push(conn);
                    // A client whose request was answered may go on with another.
                    self.asked_of.insert((asked, id));
                    // Two that were asked in turn may both pass it on to the same peer.
                    let passed_on = self.asked_of.contains(&(here, id)).then_some(id);
                    let before = self.asked_for.insert((conn, source, passed_on), hop);
                    let is_again = before.is_some_and(|before| {
                        before == hop || !self.by_hop.get(&before).is_some_and(|one| one.answered)
                    });
                    if is_again {
                        self.twice.get_or_insert_with(|| line.clone());
                    }
                }
                (Ok(Line::Data { id, .. }), End::Dialler) => {
                    self.answer((here, id, asked));
                }
                (Ok(Line::Fail(id, _)), End::Dialler) => {
                    let link = self.links.entry(conn).or_default();
                    link.fails.push_back((link.written, (here, id, asked)));
                }
                _ => {}
            }
        }
        if end == End::Acceptor && !self.lost.is_empty() {
            self.wait_for_another(conn, lines.len());
        }
    }

    /// A listening peer saw the end of connection `conn`, and may go on on `link`.
    pub fn ended(&mut self, conn: u64, link: u64) {
        let waiting = |one: &Forward| one.conns == [conn] && !one.answered && !one.refused;
        let lost = self.by_hop.iter().filter(|(_, forward)| waiting(forward));
        self.lost.extend(lost.map(|(hop, _)| Lost { hop: *hop, link, lines: 0 }));
    }

    fn wait_for_another(&mut self, link: u64, lines: usize) {
        let Self { lost, by_hop, given_up, .. } = self;
        lost.retain_mut(|one| {
            let sent_once = by_hop.get(&one.hop).is_some_and(|forward| forward.conns.len() == 1);
            one.lines += if one.link == link { lines } else { 0 };
            if sent_once && one.lines >= LINES_BEFORE_ANOTHER {
                given_up.get_or_insert(one.hop.1);
            }
            sent_once && one.lines < LINES_BEFORE_ANOTHER
        });
    }

    /// A FORWARD that was lost with its idle DATA connection and not sent again down
    /// the link, if there was one.
    pub fn given_up(&self) -> Option<ProxyId> {
        self.given_up
    }

    /// A FORWARD by which a peer was asked a second time for the same public
    /// client, if there was one. That client may be whom a trusted proxy says.
    pub fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    /// How many requests other peers have asked this host for.
    pub fn asked_of(&self, host: IpAddr) -> u64 {
        self.asked_of.iter().filter(|(asked, _)| *asked == host).count() as u64
    }

    /// One end of a connection has read `bytes`.
    pub fn read(&mut self, conn: u64, end: End, bytes: usize) {
        let Some(link) = self.links.get_mut(&conn).filter(|_| end == End::Acceptor) else { return };
        link.read += bytes as u64;
        while let Some((_, hop)) = link.fails.pop_front_if(|(at, _)| *at <= link.read) {
            let forward =
                self.by_hop.get_mut(&hop).filter(|one| one.conns.contains(&conn) && !one.refused);
            if let Some(forward) = forward {
                forward.refused = true;
                let tally = self.tallies.entry(forward.key.clone()).or_default();
                match forward.answered {
                    true => tally.taken_back += 1,
                    false => tally.refused += 1,
                }
            }
        }
    }

    fn answer(&mut self, hop: Hop) {
        let forward = self.by_hop.get_mut(&hop).filter(|one| !one.answered && !one.refused);
        if let Some(forward) = forward {
            forward.answered = true;
            self.tallies.entry(forward.key.clone()).or_default().answered += 1;
        }
    }

    /// What was overheard for a name.
    pub fn tally(&self, host: IpAddr, name: &str) -> Tally {
        self.tallies.get(&(host, name.to_owned())).copied().unwrap_or_default()
    }

    /// The peer on this host has ended, or it has forgotten names: nothing counts
    /// any more but for the names that are `known`.
    pub fn forget(&mut self, host: IpAddr, known: impl Fn(&str) -> bool) {
        let keep = |key: &Key| key.0 != host || known(&key.1);
        if !self.tallies.keys().all(keep) {
            self.tallies.retain(|key, _| keep(key));
        }
        if !self.by_hop.values().all(|forward| keep(&forward.key)) {
            self.by_hop.retain(|_, forward| keep(&forward.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    /// Host `dialler` has dialled host 1.
    fn pair(dialler: u8) -> Pair {
        let addr = |host, port| SocketAddr::from(([10, 0, 0, host], port));
        Pair { dialler: addr(dialler, 50_000), acceptor: addr(1, 8080) }
    }

    /// Host 1 has asked host 2, on connection 1.
    fn one_asked() -> Forwards {
        let mut forwards = Forwards::default();
        let line = format!("FORWARD:{ID}:app:http:10.0.0.9:1");
        forwards.wrote(1, pair(2), End::Acceptor, line.len() + 1, &[line]);
        forwards
    }

    fn tally(forwards: &Forwards) -> (u64, u64) {
        let tally = forwards.tally(pair(2).acceptor.ip(), "app");
        (tally.answered, tally.refused)
    }

    #[test]
    fn only_the_peer_that_was_asked_answers_and_once() {
        let mut forwards = one_asked();
        let data = [format!("DATA:{ID}")];
        forwards.wrote(2, pair(3), End::Dialler, 38, &data);
        assert_eq!(tally(&forwards), (0, 0), "a foreign one");
        forwards.wrote(3, pair(2), End::Dialler, 38, &data);
        forwards.wrote(4, pair(2), End::Dialler, 38, &data);
        assert_eq!(tally(&forwards), (1, 0));
    }

    #[test]
    fn a_fail_counts_once_it_was_read_whole() {
        let mut forwards = one_asked();
        let fail = [format!("FAIL:{ID}:backend_refused")];
        forwards.wrote(1, pair(2), End::Dialler, 54, &fail);
        forwards.read(1, End::Acceptor, 53);
        assert_eq!(tally(&forwards), (0, 0));
        forwards.read(1, End::Acceptor, 1);
        assert_eq!(tally(&forwards), (0, 1));
        forwards.forget(pair(2).acceptor.ip(), |_| false);
        assert_eq!(tally(&forwards), (0, 0));
    }

    #[test]
    fn a_fail_after_the_same_peers_data_takes_it_back() {
        let mut forwards = one_asked();
        forwards.wrote(2, pair(2), End::Dialler, 38, &[format!("DATA:{ID}")]);
        let fail = [format!("FAIL:{ID}:overloaded")];
        for _ in 0..2 {
            forwards.wrote(1, pair(2), End::Dialler, 49, &fail);
            forwards.read(1, End::Acceptor, 49);
        }
        assert_eq!(tally(&forwards), (1, 0));
        assert_eq!(forwards.tally(pair(2).acceptor.ip(), "app").taken_back, 1);
    }

    #[test]
    fn a_forward_that_was_lost_must_be_sent_again_on_the_link() {
        for sent_again in [false, true] {
            let mut forwards = one_asked();
            forwards.ended(1, 7);
            if sent_again {
                let line = format!("FORWARD:{ID}:app:http:10.0.0.9:1");
                forwards.wrote(7, pair(2), End::Acceptor, line.len() + 1, &[line]);
            }
            let ok = ["OK:1".to_owned(), "OK:1".to_owned()];
            for _ in 0..LINES_BEFORE_ANOTHER {
                forwards.wrote(8, pair(3), End::Acceptor, 10, &ok);
            }
            for _ in 1..LINES_BEFORE_ANOTHER / ok.len() {
                forwards.wrote(7, pair(2), End::Acceptor, 10, &ok);
            }
            assert_eq!(forwards.given_up(), None, "others, or not enough yet");
            forwards.wrote(7, pair(2), End::Acceptor, 10, &ok);
            assert_eq!(forwards.given_up().is_some(), !sent_again);
        }
    }

    #[test]
    fn asking_one_peer_twice_for_one_client_is_noticed() {
        let mut forwards = one_asked();
        assert_eq!(forwards.twice(), None);
        let again = format!("FORWARD:{}:app:http:10.0.0.9:1", ID.replace('0', "f"));
        forwards.wrote(1, pair(2), End::Acceptor, again.len() + 1, std::slice::from_ref(&again));
        assert_eq!(forwards.twice(), Some(again.as_str()));
    }

    #[test]
    fn who_passes_on_for_two_peers_may_ask_one_twice_but_not_for_one_of_them() {
        let mut forwards = Forwards::default();
        let ask = |forwards: &mut Forwards, conn, pair, id: &str| {
            let line = format!("FORWARD:{id}:app:http:10.0.0.9:1");
            forwards.wrote(conn, pair, End::Acceptor, line.len() + 1, &[line]);
        };
        let to_host_1 = |conn| {
            let addr = |host, port| SocketAddr::from(([10, 0, 0, host], port));
            Pair { dialler: addr(1, 50_000 + conn as u16), acceptor: addr(3 + conn as u8, 8080) }
        };
        let other = ID.replace('0', "f");
        ask(&mut forwards, 8, to_host_1(0), ID);
        ask(&mut forwards, 9, to_host_1(1), &other);
        ask(&mut forwards, 1, pair(2), ID);
        ask(&mut forwards, 1, pair(2), &other);
        assert_eq!(forwards.twice(), None);
        ask(&mut forwards, 1, pair(2), ID);
        assert!(forwards.twice().is_some());
    }
}
