//! All hosts of one run, and everything that can be done to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use ops_proxy::peer::{Peer, PeerHandle};
use tokio::sync::mpsc;
use turmoil::{Protocol, Segment, Sim};

use crate::backend::{Backend, Temper};
use crate::client::raw::{self, Heard, Say};
use crate::client::{Client, Order, Orders, Outcomes};
use crate::fabric::{Fabric, Host, HostState, Undertaker, way};
use crate::fate::Farewell;
use crate::metrics::Exported;
use crate::net::SimNet;
use crate::scenario::{BackendSpec, Scenario};
use crate::steps::{How, Request};

/// Unaccepted connections and unread segments that turmoil holds for a socket;
/// more unaccepted ones panic it.
const TCP_CAPACITY: usize = 1024;

/// The first moment of every run, after the epoch: a fixed day.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// A peer that has ended is given this long for its last tasks to be dropped.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The state of the way between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Held,
    Cut,
}

/// What is known of one peer's host.
#[derive(Default)]
struct Slot {
    /// The peer that runs, or that has ended by itself.
    handle: RefCell<Option<PeerHandle<SimNet>>>,
    /// How often it was started.
    starts: Cell<u64>,
    /// The peer was told to end.
    leaving: Cell<bool>,
}

/// A raw connection of the scenario.
struct RawConnection {
    says: mpsc::UnboundedSender<Say>,
    heard: Rc<RefCell<Heard>>,
}

/// Metrics that were kept for the snapshot.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The checkpoint.
    pub label: String,
    /// The peer.
    pub peer: String,
    /// What `/metrics` answers.
    pub text: String,
}

/// One run's hosts on one simulated network.
pub struct Mesh {
    sim: Sim<'static>,
    fabric: Fabric,
    scenario: Rc<Scenario>,
    ips: BTreeMap<String, IpAddr>,
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    peers: BTreeMap<String, Rc<Slot>>,
    tempers: BTreeMap<String, Rc<Temper>>,
    clients: BTreeMap<String, Rc<Orders>>,
    outcomes: Outcomes,
    raws: BTreeMap<String, RawConnection>,
    later: Vec<(Duration, Order)>,
    asked: usize,
    kept: Vec<Kept>,
}

impl Mesh {
    /// Builds all hosts; nothing runs before the first [`step`](Self::step).
    pub fn new(scenario: Rc<Scenario>, seed: u64, fabric: Fabric) -> Self {
        let network = &scenario.network;
        let sim = turmoil::Builder::new()
            .epoch(UNIX_EPOCH + EPOCH)
            .rng_seed(seed)
            .tick_duration(network.tick.0)
            .min_message_latency(network.latency.0)
            .max_message_latency(network.latency_max.unwrap_or(network.latency).0)
            .tcp_capacity(TCP_CAPACITY)
            .simulation_duration(Duration::MAX / 2)
            .build();
        let mut mesh = Self {
            sim,
            fabric,
            ips: BTreeMap::new(),
            ways: BTreeMap::new(),
            peers: BTreeMap::new(),
            tempers: BTreeMap::new(),
            clients: BTreeMap::new(),
            outcomes: Outcomes::default(),
            raws: BTreeMap::new(),
            later: Vec::new(),
            asked: 0,
            kept: Vec::new(),
            scenario: scenario.clone(),
        };
        for host in scenario.hosts() {
            mesh.add_host(host);
        }
        for host in scenario.peers.keys() {
            mesh.add_peer(host, seed);
        }
        for (host, spec) in &scenario.backends {
            mesh.add_backend(host, spec.clone(), seed);
        }
        for host in &scenario.clients {
            mesh.add_client(host, seed);
        }
        let late = scenario.peers.iter().filter(|(_, peer)| peer.starts_late);
        for (host, _) in late {
            mesh.sim.crash(host.as_str());
            mesh.set_state(host, HostState::Down);
            mesh.peers[host].handle.take();
        }
        mesh
    }

    fn add_host(&mut self, name: &str) {
        let ip = self.sim.lookup(name);
        self.ips.insert(name.to_owned(), ip);
        let mut state = self.fabric.state();
        state.names.insert(name.to_owned(), ip);
        state.hosts.insert(ip, Host::new(name));
    }

    fn net(&self, name: &str, seed: u64) -> impl Fn(u64) -> SimNet + use<> {
        let (fabric, ip, name) = (self.fabric.clone(), self.ips[name], name.to_owned());
        move |start| SimNet::new(fabric.clone(), ip, seed, &name, start)
    }

    fn add_peer(&mut self, name: &str, seed: u64) {
        let slot = Rc::new(Slot::default());
        self.peers.insert(name.to_owned(), slot.clone());
        let config =
            self.scenario.peers[name].config(name).expect("a checked scenario has valid peers");
        let (net, fabric, ip) = (self.net(name, seed), self.fabric.clone(), self.ips[name]);
        self.sim.host(name, move || {
            slot.starts.set(slot.starts.get() + 1);
            slot.leaving.set(false);
            let (net, config) = (net(slot.starts.get()), config.clone());
            let (slot, fabric) = (slot.clone(), fabric.clone());
            let undertaker = Undertaker { fabric: fabric.clone(), ip };
            async move {
                let _undertaker = undertaker;
                let peer = Peer::start(config, net).await?;
                *slot.handle.borrow_mut() = Some(peer.handle());
                peer.run().await;
                fabric.state().hosts.get_mut(&ip).expect("it is a host").state = HostState::Down;
                tokio::time::sleep(LAST_WORDS).await;
                Ok(())
            }
        });
    }

    fn add_backend(&mut self, name: &str, spec: BackendSpec, seed: u64) {
        let temper = Rc::new(Temper::new(spec));
        self.tempers.insert(name.to_owned(), temper.clone());
        let (net, fabric, ip) = (self.net(name, seed), self.fabric.clone(), self.ips[name]);
        self.sim.host(name, move || {
            let undertaker = Undertaker { fabric: fabric.clone(), ip };
            let backend = Backend { temper: temper.clone(), net: net(0), fabric: fabric.clone() };
            async move {
                let _undertaker = undertaker;
                backend.run().await
            }
        });
    }

    fn add_client(&mut self, name: &str, seed: u64) {
        let orders = Rc::new(Orders::default());
        self.clients.insert(name.to_owned(), orders.clone());
        let (net, fabric, ip) = (self.net(name, seed), self.fabric.clone(), self.ips[name]);
        let (outcomes, name) = (self.outcomes.clone(), Rc::<str>::from(name));
        self.sim.host(&*name.clone(), move || {
            let undertaker = Undertaker { fabric: fabric.clone(), ip };
            let client = Client {
                name: name.clone(),
                net: net(0),
                fabric: fabric.clone(),
                orders: orders.clone(),
                outcomes: outcomes.clone(),
            };
            async move {
                let _undertaker = undertaker;
                client.run().await
            }
        });
    }

    /// Lets one tick pass.
    ///
    /// # Errors
    /// A host whose software failed, and how.
    pub fn step(&mut self) -> Result<(), String> {
        let now = self.now();
        let due: Vec<Order> =
            self.later.extract_if(.., |(at, _)| *at <= now).map(|o| o.1).collect();
        for order in due {
            self.clients[&order.request.from].request(order);
        }
        let farewells = self.farewells_in_flight();
        {
            let mut state = self.fabric.state();
            state.now = now;
            state.ledger.advance(now);
            let cut = state.cut.clone();
            state.ledger.tell_leaving(|from, to| {
                farewells.contains(&(from, to)) || cut.contains(&way(from.ip(), to.ip()))
            });
        }
        self.sim.step().map_err(|error| error.to_string())?;
        self.fabric.state().now = self.now();
        Ok(())
    }

    fn farewells_in_flight(&self) -> Vec<(std::net::SocketAddr, std::net::SocketAddr)> {
        let mut found = Vec::new();
        if self.fabric.state().ledger.has_leaving() {
            self.sim.links(|links| {
                for sent in links.flatten() {
                    if let Protocol::Tcp(Segment::Fin(_) | Segment::Rst) = sent.protocol() {
                        found.push(sent.pair());
                    }
                }
            });
        }
        found
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// The scenario that is played.
    pub fn scenario(&self) -> &Rc<Scenario> {
        &self.scenario
    }

    /// What all hosts share.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// All requests so far.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The address of a host.
    pub fn ip(&self, host: &str) -> IpAddr {
        self.ips[host]
    }

    fn set_state(&self, host: &str, to: HostState) {
        let mut state = self.fabric.state();
        state.hosts.get_mut(&self.ip(host)).expect("every host is known").state = to;
    }

    // Ways

    /// From now on everything between `a` and `b` waits.
    ///
    /// # Errors
    /// The way is held or cut already.
    pub fn hold(&mut self, a: &str, b: &str) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.contains_key(&pair) {
            return Err(format!("the way between {a} and {b} is held or cut already"));
        }
        self.ways.insert(pair, Way::Held);
        self.sim.hold(pair.0, pair.1);
        Ok(())
    }

    /// What was held goes on.
    ///
    /// # Errors
    /// Nothing was held.
    pub fn release(&mut self, a: &str, b: &str) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.get(&pair) != Some(&Way::Held) {
            return Err(format!("the way between {a} and {b} is not held"));
        }
        self.ways.remove(&pair);
        self.sim.release(pair.0, pair.1);
        Ok(())
    }

    /// Cuts the way for good, and returns how many connections die of it.
    ///
    /// # Errors
    /// The way is held or cut already.
    pub fn partition(&mut self, a: &str, b: &str) -> Result<usize, String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.contains_key(&pair) {
            return Err(format!("the way between {a} and {b} is held or cut already"));
        }
        self.ways.insert(pair, Way::Cut);
        self.sim.partition(pair.0, pair.1);
        let noticed = self.now() + self.scenario.network.notices_cut_after.0;
        let mut state = self.fabric.state();
        state.cut.push(pair);
        Ok(state.ledger.doom(noticed, |a, b| way(a, b) == pair))
    }

    /// What is sent from now on arrives again.
    ///
    /// # Errors
    /// The way is not cut.
    pub fn heal(&mut self, a: &str, b: &str) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.get(&pair) != Some(&Way::Cut) {
            return Err(format!("the way between {a} and {b} is not cut"));
        }
        self.ways.remove(&pair);
        self.sim.repair(pair.0, pair.1);
        self.fabric.state().cut.retain(|cut| *cut != pair);
        self.fabric.ways_changed();
        Ok(())
    }

    /// Sets the time from one host to the other.
    pub fn set_latency(&mut self, a: &str, b: &str, latency: Duration) {
        self.sim.set_link_latency(self.ip(a), self.ip(b), latency);
    }

    /// Every way takes as long as at the start.
    pub fn reset_latencies(&mut self) {
        let network = &self.scenario.network;
        let most = network.latency_max.unwrap_or(network.latency).0;
        let ips: Vec<IpAddr> = self.ips.values().copied().collect();
        for (index, a) in ips.iter().enumerate() {
            for b in &ips[index + 1..] {
                self.sim.set_link_latency(*a, *b, network.latency.0);
                self.sim.set_link_max_message_latency(*a, *b, most);
            }
        }
    }

    /// Whether everything between `a` and `b` waits.
    pub fn is_held(&self, a: &str, b: &str) -> bool {
        self.ways.get(&way(self.ip(a), self.ip(b))) == Some(&Way::Held)
    }

    /// Whether what `a` sends now reaches `b`, as far as the way is concerned.
    pub fn is_open(&self, a: &str, b: &str) -> bool {
        !self.ways.contains_key(&way(self.ip(a), self.ip(b)))
    }

    /// Segments on their way between `a` and `b`.
    pub fn in_flight(&self, a: &str, b: &str) -> usize {
        let pair = way(self.ip(a), self.ip(b));
        let mut count = 0;
        self.sim.links(|links| {
            for link in links {
                let (a, b) = link.pair();
                if way(a, b) == pair {
                    count += link.count();
                }
            }
        });
        count
    }

    /// Writes and dials between `a` and `b` so far.
    pub fn traffic(&self, a: &str, b: &str) -> u64 {
        let pair = way(self.ip(a), self.ip(b));
        self.fabric.state().counters.traffic.get(&pair).copied().unwrap_or(0)
    }

    /// Dials between `a` and `b` that a cut has swallowed.
    pub fn blocked(&self, a: &str, b: &str) -> u64 {
        let pair = way(self.ip(a), self.ip(b));
        self.fabric.state().counters.blocked.get(&pair).copied().unwrap_or(0)
    }

    // Hosts

    /// Whether a host's software runs.
    pub fn is_running(&self, host: &str) -> bool {
        self.fabric.state().hosts[&self.ip(host)].state == HostState::Up
    }

    /// Ends a host's software without notice.
    ///
    /// # Errors
    /// It does not run.
    pub fn crash(&mut self, host: &str, how: How) -> Result<(), String> {
        if !self.is_running(host) {
            return Err(format!("{host} does not run"));
        }
        let ip = self.ip(host);
        let others: Vec<IpAddr> = self.ips.values().copied().filter(|other| *other != ip).collect();
        let farewell = match how {
            How::Reset => Farewell::Reset,
            How::Silent => Farewell::Nothing,
            How::End => Farewell::Clean,
        };
        if how == How::Silent {
            others.iter().for_each(|other| self.sim.partition(ip, *other));
            let noticed = self.now() + self.scenario.network.notices_cut_after.0;
            self.fabric.state().ledger.doom(noticed, |a, b| a == ip || b == ip);
        }
        self.fabric.state().tear_down(ip, farewell);
        if let Some(slot) = self.peers.get(host) {
            slot.handle.take();
        }
        self.sim.crash(ip);
        self.set_state(host, if how == How::Silent { HostState::Dark } else { HostState::Down });
        if how == How::Silent {
            for other in others {
                self.restore_way(ip, other);
            }
        }
        Ok(())
    }

    /// Makes turmoil's view of a way what it should be.
    fn restore_way(&mut self, a: IpAddr, b: IpAddr) {
        match self.ways.get(&way(a, b)) {
            None => self.sim.repair(a, b),
            Some(Way::Held) => self.sim.hold(a, b),
            Some(Way::Cut) => self.sim.partition(a, b),
        }
    }

    /// Starts a host's software; one that runs is killed first.
    pub fn restart(&mut self, host: &str) {
        if self.is_running(host) {
            // It runs: that was just asked.
            let _ = self.crash(host, How::Reset);
        }
        if let Some(slot) = self.peers.get(host) {
            slot.handle.take();
        }
        self.set_state(host, HostState::Up);
        self.sim.bounce(self.ip(host));
        self.fabric.ways_changed();
    }

    /// Changes what a name resolves to.
    pub fn set_name(&mut self, name: &str, host: Option<&str>) {
        let ip = host.map(|host| self.ip(host));
        let mut state = self.fabric.state();
        match ip {
            Some(ip) => state.names.insert(name.to_owned(), ip),
            None => state.names.remove(name),
        };
    }

    /// The host that a name stands for now.
    pub fn host_of(&self, name: &str) -> Option<String> {
        let state = self.fabric.state();
        let ip = state.names.get(name)?;
        Some(state.host_name(*ip))
    }

    /// Lookups of a name so far.
    pub fn lookups(&self, name: &str) -> u64 {
        self.fabric.state().counters.lookups.get(name).copied().unwrap_or(0)
    }

    /// Changes how a backend treats connections to come.
    pub fn change_backend(&mut self, host: &str, change: impl FnOnce(&mut BackendSpec)) {
        self.tempers[host].change(change);
    }

    /// How a backend treats connections now.
    pub fn backend(&self, host: &str) -> Option<BackendSpec> {
        self.tempers.get(host).map(|temper| temper.now())
    }

    /// Dials to a host so far.
    pub fn dials(&self, host: &str) -> u64 {
        self.fabric.state().counters.dials.get(&self.ip(host)).copied().unwrap_or(0)
    }

    // Peers

    /// The peer on a host, if one was started and has not crashed.
    pub fn peer(&self, host: &str) -> Option<PeerHandle<SimNet>> {
        self.peers[host].handle.borrow().clone()
    }

    /// How often the peer on this host was started.
    pub fn starts(&self, host: &str) -> u64 {
        self.peers[host].starts.get()
    }

    /// Whether the peer on this host was told to end.
    pub fn is_leaving(&self, host: &str) -> bool {
        self.peers[host].leaving.get()
    }

    /// The peer drains.
    ///
    /// # Errors
    /// It does not run.
    pub fn drain(&mut self, host: &str) -> Result<(), String> {
        self.running(host)?.drain();
        self.peers[host].leaving.set(true);
        Ok(())
    }

    /// The peer stops now.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, host: &str) -> Result<(), String> {
        self.running(host)?.stop();
        self.peers[host].leaving.set(true);
        Ok(())
    }

    fn running(&self, host: &str) -> Result<PeerHandle<SimNet>, String> {
        let handle = self.peer(host).filter(|_| self.is_running(host));
        handle.ok_or_else(|| format!("{host} does not run"))
    }

    /// What a peer exports now.
    ///
    /// # Errors
    /// It does not run, or its text is malformed.
    pub fn exported(&self, host: &str) -> Result<Exported, String> {
        let handle = self.peer(host).ok_or_else(|| format!("{host} does not run"))?;
        Exported::parse(&handle.metrics_text())
    }

    /// Keeps the metrics of all peers that listen, under a label.
    pub fn keep_metrics(&mut self, label: &str) {
        for (host, spec) in &self.scenario.peers {
            let listens = spec.listen.is_some() || !spec.tcp.is_empty();
            if let Some(handle) = self.peer(host).filter(|_| listens) {
                let (label, peer) = (label.to_owned(), host.clone());
                self.kept.push(Kept { label, peer, text: handle.metrics_text() });
            }
        }
    }

    /// The metrics that were kept.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    // Clients

    /// A client shall make this request, `later` from now.
    pub fn request_later(&mut self, later: Duration, request: Request, _step: usize) {
        self.asked += 1;
        self.later.push((self.now() + later, Order { number: self.asked, request }));
    }

    /// Whether every request that was ordered is over.
    pub fn all_asked(&self) -> bool {
        self.later.is_empty()
            && self.clients.values().all(|orders| orders.is_empty())
            && self.outcomes.with(|all| all.iter().all(|one| one.ended.is_some()))
    }

    /// Opens a raw connection.
    pub fn open_raw(&mut self, conn: &str, from: &str, to: &str, deaf: bool) {
        let (says, receiver) = mpsc::unbounded_channel();
        let heard = Rc::<RefCell<Heard>>::default();
        let order = raw::Order { to: to.to_owned(), deaf, says: receiver, heard: heard.clone() };
        self.clients[from].raw(order);
        self.raws.insert(conn.to_owned(), RawConnection { says, heard });
    }

    /// Says something on a raw connection.
    ///
    /// # Errors
    /// It was never opened.
    pub fn say_raw(&mut self, conn: &str, say: Say) -> Result<(), String> {
        let raw = self.raws.get(conn).ok_or_else(|| format!("{conn} was never opened"))?;
        // One that has ended hears nothing; the step's effect will be missing.
        let _ = raw.says.send(say);
        Ok(())
    }

    /// What was heard on a raw connection.
    pub fn heard_raw(&self, conn: &str) -> Option<Heard> {
        self.raws.get(conn).map(|raw| raw.heard.borrow().clone())
    }

    /// All raw connections and what was heard on them.
    pub fn raws(&self) -> Vec<(String, Heard)> {
        let heard = |raw: &RawConnection| raw.heard.borrow().clone();
        self.raws.iter().map(|(conn, raw)| (conn.clone(), heard(raw))).collect()
    }

    /// The proxy id of a FORWARD line: `last`, or its number from 1 on.
    ///
    /// # Errors
    /// There was no such line.
    pub fn forward_id(&self, which: &str) -> Result<String, String> {
        let state = self.fabric.state();
        let forwards = state.tap.forwards();
        let id = match which {
            "last" => forwards.last(),
            number => number.parse::<usize>().ok().and_then(|n| forwards.get(n.wrapping_sub(1))),
        };
        id.cloned().ok_or_else(|| {
            format!("there was no FORWARD line {which:?}, only {} so far", forwards.len())
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.fabric.state().over = true;
    }
}
