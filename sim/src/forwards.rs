//! What became of each FORWARD, as overheard on the wire: what a listening peer
//! counts must agree with what it was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ops_proxy::names::ProxyId;
use ops_proxy::wire::Line;

use crate::fate::Pair;
use crate::trace::End;

/// A listening peer's host and one of its names.
type Key = (IpAddr, String);

/// What was overheard for one name at one listening peer since its start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// DATA lines that came from the peer that was asked.
    pub answered: u64,
    /// FAIL lines that the listening peer has read, on the link that it asked on.
    pub refused: u64,
}

#[derive(Debug)]
struct Forward {
    key: Key,
    conn: u64,
    /// The connecting peer's host.
    asked: IpAddr,
    /// A DATA or a FAIL was its answer.
    answered: bool,
}

/// The lines of one link from the connecting peer.
#[derive(Debug, Default)]
struct Incoming {
    written: u64,
    read: u64,
    /// FAIL lines that were not read yet, each with the position of its end.
    fails: VecDeque<(u64, ProxyId)>,
}

/// All FORWARD lines of a run.
#[derive(Debug, Default)]
pub struct Forwards {
    by_id: BTreeMap<ProxyId, Forward>,
    links: BTreeMap<u64, Incoming>,
    tallies: BTreeMap<Key, Tally>,
    /// The link and the public client of every FORWARD.
    asked_for: BTreeSet<(u64, SocketAddr)>,
    twice: Option<String>,
}

impl Forwards {
    /// One end of connection `conn` wrote `bytes`, which ended these lines.
    pub fn wrote(&mut self, conn: u64, pair: Pair, end: End, bytes: usize, lines: &[String]) {
        if end == End::Dialler {
            self.links.entry(conn).or_default().written += bytes as u64;
        }
        for line in lines {
            match (Line::parse(line.as_bytes()), end) {
                (Ok(Line::Forward { id, name, source }), End::Acceptor) => {
                    let key = (pair.acceptor.ip(), name.to_string());
                    let asked = pair.dialler.ip();
                    self.by_id.insert(id, Forward { key, conn, asked, answered: false });
                    if !self.asked_for.insert((conn, source)) {
                        self.twice.get_or_insert_with(|| line.clone());
                    }
                }
                (Ok(Line::Data(id)), End::Dialler) => self.answer(id, pair.dialler.ip()),
                (Ok(Line::Fail(id, _)), End::Dialler) => {
                    let link = self.links.entry(conn).or_default();
                    link.fails.push_back((link.written, id));
                }
                _ => {}
            }
        }
    }

    /// A FORWARD by which a peer was asked a second time for the same public
    /// client, if there was one. That client may be whom a trusted proxy says.
    pub fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    /// One end of a connection has read `bytes`.
    pub fn read(&mut self, conn: u64, end: End, bytes: usize) {
        let Some(link) = self.links.get_mut(&conn).filter(|_| end == End::Acceptor) else { return };
        link.read += bytes as u64;
        while let Some((_, id)) = link.fails.pop_front_if(|(at, _)| *at <= link.read) {
            let forward = self.by_id.get_mut(&id).filter(|one| one.conn == conn && !one.answered);
            if let Some(forward) = forward {
                forward.answered = true;
                self.tallies.entry(forward.key.clone()).or_default().refused += 1;
            }
        }
    }

    fn answer(&mut self, id: ProxyId, from: IpAddr) {
        let forward = self.by_id.get_mut(&id).filter(|one| one.asked == from && !one.answered);
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
        if !self.by_id.values().all(|forward| keep(&forward.key)) {
            self.by_id.retain(|_, forward| keep(&forward.key));
        }
    }
}
