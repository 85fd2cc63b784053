//! The hosts of a run, as the scenario has them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ops_proxy::observe::sinks::Sinks;
use ops_proxy::peer::Peer;
use ops_proxy::workers::Workers;

use super::access::Told;
use super::simulation::Mesh;
use super::slot::Slot;
use crate::backend::{Backend, Temper};
use crate::client::{Client, Orders, Outcomes};
use crate::ground::Ground;
use crate::network::{Fabric, Host, HostState, SimNet, Undertaker};
use crate::scenario::{BackendSpec, EPOCH, Order, Scenario};
use crate::tls::{Certificates, crypto};

/// Unaccepted connections and unread segments that turmoil holds for a socket;
/// more unaccepted ones panic it.
const TCP_CAPACITY: usize = 1024;

/// Datagrams that turmoil holds for a socket; more are lost.
const UDP_CAPACITY: usize = 1024;

/// A peer that has ended is given this long for its last tasks to be dropped.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
            .udp_capacity(UDP_CAPACITY)
            .simulation_duration(Duration::MAX / 2)
            .build();
        let mut mesh = Self {
            sim,
            fabric,
            ips: BTreeMap::new(),
            ways: BTreeMap::new(),
            thawed: BTreeMap::new(),
            peers: BTreeMap::new(),
            tempers: BTreeMap::new(),
            clients: BTreeMap::new(),
            unheard: Vec::new(),
            outcomes: Outcomes::default(),
            raws: BTreeMap::new(),
            later: Vec::new(),
            asked: 0,
            kept: Vec::new(),
            certificates: Certificates::make(&scenario, EPOCH)
                .expect("a checked scenario has certificates that can be made"),
            scenario: scenario.clone(),
            began_as: scenario.clone(),
        };
        crypto::begin(seed);
        for host in scenario.hosts() {
            mesh.add_host(host);
        }
        mesh.add_files();
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
        state.names.insert(name.to_owned(), vec![ip]);
        state.hosts.insert(ip, Host::new(name));
    }

    fn net(&self, name: &str, seed: u64) -> impl Fn(u64) -> SimNet + use<> {
        let (fabric, ip, name) = (self.fabric.clone(), self.ips[name], name.to_owned());
        move |start| SimNet::new(fabric.clone(), ip, seed, &name, start)
    }

    fn add_peer(&mut self, name: &str, seed: u64) {
        let slot = Rc::new(Slot::default());
        self.peers.insert(name.to_owned(), slot.clone());
        let config = self.scenario.peers[name].config(name);
        *slot.config.borrow_mut() = Some(config.expect("a checked scenario has valid peers"));
        let (net, fabric, ip) = (self.net(name, seed), self.fabric.clone(), self.ips[name]);
        let order = self.scenario.network.order;
        self.sim.host(name, move || {
            slot.starts.set(slot.starts.get() + 1);
            slot.leaving.set(false);
            let told = Arc::new(Told::default());
            *slot.told.borrow_mut() = told.clone();
            let sinks = Sinks { access: Some(told), ..Sinks::default() };
            let (net, config) = (net(slot.starts.get()), slot.config());
            let net = match order {
                Order::Woken => net,
                Order::Random => net.in_random_order(),
            };
            let (slot, fabric) = (slot.clone(), fabric.clone());
            let undertaker = Undertaker { fabric: fabric.clone(), ip };
            let host = net.clone();
            let run = async move {
                let _undertaker = undertaker;
                let peer = Peer::start_with(config, net, sinks, Workers::default()).await?;
                let handle = peer.handle();
                *slot.handle.borrow_mut() = Some(handle.clone());
                tokio::select! {
                    biased;
                    ended = peer.run() => ended?,
                    failed = slot.reconfigure(&handle) => failed?,
                }
                drop(handle);
                fabric.state().ended(ip);
                tokio::time::sleep(LAST_WORDS).await;
                Ok(())
            };
            host.watched(run)
        });
    }

    fn add_backend(&mut self, name: &str, spec: BackendSpec, seed: u64) {
        let temper = Rc::new(Temper::new(spec));
        self.tempers.insert(name.to_owned(), temper.clone());
        let (net, fabric, ip) = (self.net(name, seed), self.fabric.clone(), self.ips[name]);
        let name = Rc::<str>::from(name);
        self.sim.host(&*name.clone(), move || {
            let undertaker = Undertaker { fabric: fabric.clone(), ip };
            let backend = Backend { name: name.clone(), temper: temper.clone(), net: net(0) };
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
                orders: orders.clone(),
                outcomes: outcomes.clone(),
            };
            async move {
                let _undertaker = undertaker;
                client.run().await
            }
        });
    }
}
