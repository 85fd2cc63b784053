//! What all hosts of one run share: names, the state of the ways between hosts,
//! the ledger of connections, and the trace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use turmoil::net::TcpStream;

use super::counters::Counters;
use super::host::{Dying, Host, HostState};
use super::ledger::{Farewell, Ledger};
use super::way::way;
use crate::connection::{End, Pair};
use crate::scenario::Moment;
use crate::tap::{Forwards, Role, Tap};
use crate::tls::Files;
use crate::trace::{self, Trace, What};

/// A handle on what the hosts of one run share.
#[derive(Debug, Clone, Default)]
pub struct Fabric {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Fabric {
    /// A fabric whose trace keeps its events if `record` is set.
    pub fn new(record: bool) -> Self {
        let fabric = Self::default();
        fabric.state().trace = Trace::new(record);
        fabric
    }

    /// The shared state. A run is one thread: nobody ever waits for this.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panicking host must not take the others' destructors with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the dials that wait for a way to heal.
    pub fn ways_changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until some way changed.
    pub async fn way_change(&self) {
        self.changed.notified().await;
    }
}

/// What [`Fabric`] guards.
#[derive(Debug, Default)]
pub struct State {
    /// Simulated time at the start of the current tick.
    pub now: Duration,
    /// What a name resolves to, in order; a name without entry does not resolve.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// How long it takes to look a name up; one without entry is found at once.
    pub lookup_times: BTreeMap<String, Duration>,
    /// How far a host's wall clock is from the right time; one without entry is right.
    pub clocks: BTreeMap<IpAddr, Moment>,
    /// How often the software of all hosts was polled so far.
    pub polls: u64,
    /// How often anything else has changed what they can do.
    pub done: u64,
    /// All hosts.
    pub hosts: BTreeMap<IpAddr, Host>,
    /// The files of hosts that have any.
    pub files: BTreeMap<IpAddr, Files>,
    /// From one host to another: what is sent there is lost, and when that is noticed.
    pub lost: BTreeMap<(IpAddr, IpAddr), Duration>,
    /// The connections.
    pub ledger: Ledger,
    /// What the bytes on them mean.
    pub tap: Tap,
    /// What became of each FORWARD.
    pub forwards: Forwards,
    /// What happened.
    pub trace: Trace,
    /// For the effects of steps.
    pub counters: Counters,
    /// What must not have happened, as those say who saw it.
    pub wrongs: Vec<String>,
    /// The run is over; what is dropped now is nobody's doing.
    pub over: bool,
}

impl State {
    /// Whether two hosts cannot agree on a connection: what one of them sends is lost.
    pub fn is_cut(&self, a: IpAddr, b: IpAddr) -> bool {
        self.lost.contains_key(&(a, b)) || self.lost.contains_key(&(b, a))
    }

    /// The name of a host, or its address.
    pub fn host_name(&self, ip: IpAddr) -> String {
        self.hosts.get(&ip).map_or_else(|| ip.to_string(), |host| host.name.clone())
    }

    /// `name:port`, as a reader knows it.
    pub fn show(&self, addr: SocketAddr) -> String {
        format!("{}:{}", self.host_name(addr.ip()), addr.port())
    }

    /// Adds an event at a host.
    pub fn event(&mut self, ip: IpAddr, what: What) {
        let at = now(self.now);
        let host = self.hosts.get(&ip).map_or("", |host| &host.name);
        self.trace.push(at, host, what);
    }

    /// Adds an event of the harness.
    pub fn note(&mut self, what: What) {
        let at = now(self.now);
        self.trace.push(at, "", what);
    }

    /// Somebody saw what must not happen.
    pub fn wrong(&mut self, what: String) {
        self.wrongs.push(what);
    }

    /// The software of a host is polled.
    pub(super) fn polled(&mut self, ip: IpAddr) {
        if let Some(host) = self.hosts.get_mut(&ip) {
            host.polls += 1;
            self.polls += 1;
        }
    }

    /// Whether the process of a host is stopped; whoever would run now does so when it goes on.
    pub(super) fn is_held_back(&mut self, ip: IpAddr, waker: &Waker) -> bool {
        let host = self.hosts.get_mut(&ip);
        let Some(waiting) = host.and_then(|host| host.frozen.as_mut()) else { return false };
        waiting.push(waker.clone());
        true
    }

    /// Whether the process of a host is stopped, and how many times somebody would have run.
    pub fn frozen(&self, ip: IpAddr) -> Option<usize> {
        self.hosts[&ip].frozen.as_ref().map(Vec::len)
    }

    /// Stops the process of a host: its connections stay, and nothing is done with them.
    pub fn freeze(&mut self, ip: IpAddr) {
        self.hosts.get_mut(&ip).expect("it is a host").frozen = Some(Vec::new());
        self.done += 1;
    }

    /// The process of a host goes on, if it was stopped.
    pub fn thaw(&mut self, ip: IpAddr) {
        let host = self.hosts.get_mut(&ip).expect("it is a host");
        host.frozen.take().into_iter().flatten().for_each(Waker::wake);
        self.done += 1;
    }

    /// The software of a host has ended by itself.
    pub fn ended(&mut self, ip: IpAddr) {
        self.hosts.get_mut(&ip).expect("it is a host").state = HostState::Down;
        self.done += 1;
    }

    /// Counts something that travels between two hosts.
    pub fn count_traffic(&mut self, a: IpAddr, b: IpAddr) {
        *self.counters.traffic.entry(way(a, b)).or_default() += 1;
    }

    /// A connection was accepted.
    pub fn accepted(&mut self, pair: Pair) {
        let conn = self.ledger.open(pair);
        // Its SYN was on its way when the other direction was cut.
        let (ip, other) = (pair.dialler.ip(), pair.acceptor.ip());
        let noticed = [(ip, other), (other, ip)].map(|way| self.lost.get(&way).copied());
        if let Some(at) = noticed.into_iter().flatten().next() {
            self.ledger.sever(pair, at, noticed.map(|lost| lost.is_some()));
        }
        let (from, to) = (self.show(pair.dialler), self.show(pair.acceptor));
        self.event(pair.acceptor.ip(), What::Accepted { conn, from, to });
    }

    /// One end wrote `bytes`.
    pub fn wrote(&mut self, pair: Pair, end: End, bytes: &[u8]) {
        self.ledger.wrote(pair, end, bytes.len());
        self.count_traffic(pair.dialler.ip(), pair.acceptor.ip());
        let Some(conn) = self.ledger.id(pair) else { return };
        let ip = pair.addr(end).ip();
        let digest = trace::digest(bytes);
        self.event(ip, What::Wrote { conn, end, bytes: bytes.len(), digest });
        let lines = self.tap.wrote(conn, end, bytes);
        self.forwards.wrote(conn, pair, end, bytes.len(), &lines);
        for line in lines {
            self.event(ip, What::Line { conn, end, line });
        }
    }

    /// One end has read the end of a connection, or that it failed.
    pub fn saw_end(&mut self, pair: Pair, end: End) {
        let hosts = |pair: Pair| (pair.dialler.ip(), pair.acceptor.ip());
        let is_link = |other: &(Pair, u64)| {
            hosts(other.0) == hosts(pair) && self.tap.role(other.1) == Role::Link
        };
        let mut links = self.ledger.pairs().filter(is_link).map(|(_, id)| id);
        // Between an old link and a new one, nobody can tell from outside which it was.
        let link = links.next().filter(|_| links.next().is_none());
        if let (Some(conn), Some(link), End::Acceptor) = (self.ledger.id(pair), link, end) {
            self.forwards.ended(conn, link);
        }
    }

    /// One end let go.
    pub fn closed(&mut self, pair: Pair, end: End, reset: bool) {
        if self.over {
            return;
        }
        let Some(conn) = self.ledger.id(pair) else { return };
        let host = self.hosts.get(&pair.addr(end).ip());
        let farewell = match host.and_then(|host| host.dying.as_ref()) {
            Some(dying) => dying.farewell,
            None if reset => Farewell::Reset,
            None => Farewell::Clean,
        };
        self.parted(pair, end, conn, farewell);
    }

    /// One end has gone, with this farewell.
    pub(super) fn parted(&mut self, pair: Pair, end: End, conn: u64, farewell: Farewell) {
        let ip = pair.addr(end).ip();
        if self.ledger.close(pair, end, farewell) {
            let what = match farewell {
                Farewell::Reset => What::Aborted { conn, end },
                Farewell::Clean | Farewell::Nothing => What::Closed { conn, end },
            };
            self.event(ip, what);
        }
    }

    /// The software of a host is about to be torn down.
    pub fn tear_down(&mut self, ip: IpAddr, farewell: Farewell) {
        if let Some(host) = self.hosts.get_mut(&ip) {
            host.dying = Some(Dying { farewell, buried: Some(Vec::new()) });
        }
    }

    /// Whether streams dropped now go down with their host.
    pub fn is_torn_down(&self, ip: IpAddr) -> bool {
        let dying = self.hosts.get(&ip).and_then(|host| host.dying.as_ref());
        dying.is_some_and(|dying| dying.buried.is_some())
    }

    /// The software of a host has been torn down.
    pub fn torn_down(&mut self, ip: IpAddr) {
        if let Some(host) = self.hosts.get_mut(&ip) {
            host.dying = None;
        }
    }

    /// A stream goes down with its host. In which order tokio drops the tasks of
    /// a runtime depends on how many there were in this process before, so the
    /// others are told by the [undertaker](super::Undertaker), in its own order.
    pub fn bury(&mut self, pair: Pair, end: End, stream: TcpStream) {
        let conn = self.ledger.id(pair).unwrap_or(0);
        let ip = pair.addr(end).ip();
        let dying = self.hosts.get_mut(&ip).and_then(|host| host.dying.as_mut());
        if let Some(buried) = dying.and_then(|dying| dying.buried.as_mut()) {
            buried.push((conn, pair, end, stream));
        }
    }

    /// Open DATA connections that wait for a request.
    pub fn idle_connections(&self) -> usize {
        self.ledger.pairs().filter(|(_, id)| self.tap.is_idle(*id)).count()
    }

    /// Open connections that are no links and do not wait for a request, each with its
    /// ends, for a message.
    pub fn open_besides_links(&self) -> Vec<String> {
        let besides = |id| self.tap.role(id) != Role::Link && !self.tap.is_idle(id);
        let besides = self.ledger.pairs().filter(|(_, id)| besides(*id));
        besides
            .map(|(pair, id)| {
                format!("[{id}] {} -> {}", self.show(pair.dialler), self.show(pair.acceptor))
            })
            .collect()
    }
}

/// Simulated time: exact within a host's task, else the start of the tick.
fn now(tick_start: Duration) -> Duration {
    // Without a runtime tokio's clock is the machine's.
    match tokio::runtime::Handle::try_current() {
        Ok(_) => turmoil::sim_elapsed().unwrap_or(tick_start),
        Err(_) => tick_start,
    }
}
