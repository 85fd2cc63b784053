//! All hosts of one run in the real world.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ops_proxy::stream::net::Net;
use ops_proxy::stream::net::tokio::TokioNet;
use tokio::task::JoinSet;

use super::dns::serve;
use super::names::Names;
use super::namespaces::Namespaces;
use super::net::{RealNet, Witness};
use super::process::Process;
use crate::backend::Temper;
use crate::client::{Heard, Order, Orders, Outcomes, Say};
use crate::metrics::Exported;
use crate::scenario::Scenario;
use crate::scenario::steps::Request;
use crate::tls::{Certificates, Material};

/// How many runs this process has begun: each has names of its own for its namespaces.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// A connection that a scenario writes by hand.
pub(super) struct Raw {
    pub(super) says: tokio::sync::mpsc::UnboundedSender<Say>,
    pub(super) heard: Rc<RefCell<Heard>>,
}

/// All hosts of one run, and what is known of them. What runs ends before the namespaces go.
pub(super) struct Lab {
    /// The software of clients and backends, by host.
    pub(super) software: BTreeMap<String, JoinSet<()>>,
    /// What happens by itself, later: requests of a series, and connections that are given up.
    pub(super) later: JoinSet<()>,
    _servers: JoinSet<()>,
    pub(super) peers: BTreeMap<String, Process>,
    pub(super) nets: BTreeMap<String, RealNet>,
    pub(super) namespaces: Namespaces,
    directory: PathBuf,
    _temporary: tempfile::TempDir,
    pub(super) binary: PathBuf,
    /// With its peers as they are configured now.
    pub(super) scenario: Scenario,
    began_as: Scenario,
    pub(super) names: Names,
    pub(super) witness: Arc<Witness>,
    pub(super) certificates: Certificates,
    pub(super) materials: BTreeMap<String, Material>,
    pub(super) tempers: BTreeMap<String, Rc<Temper>>,
    pub(super) orders: BTreeMap<String, Rc<Orders>>,
    pub(super) outcomes: Outcomes,
    pub(super) raws: BTreeMap<String, Raw>,
    /// The ids of FORWARD lines that raw connections have heard, in order.
    pub(super) forwards: Vec<String>,
    /// What each peer last exported.
    pub(super) exported: BTreeMap<String, Exported>,
    /// Hosts without power.
    pub(super) dark: Rc<RefCell<Vec<String>>>,
    /// Ways that are cut.
    pub(super) cut: Rc<RefCell<Vec<[String; 2]>>>,
    asked: usize,
    /// How often another process has taken over from a peer that is no more.
    pub(super) taken_over: usize,
    /// Requests of a series that are still to come.
    to_come: Rc<Cell<usize>>,
}

impl Lab {
    /// Makes all hosts; nothing runs yet. Logs go to `logs`, or with the run.
    ///
    /// # Errors
    /// What could not be made.
    pub(super) fn make(
        scenario: &Scenario,
        binary: &Path,
        logs: Option<PathBuf>,
    ) -> Result<Self, String> {
        let prefix = format!("opsx-{}-{}", std::process::id(), BEGUN.fetch_add(1, Relaxed));
        let bad = |error: io::Error| error.to_string();
        let namespaces = Namespaces::make(prefix, scenario.hosts()).map_err(bad)?;
        let (names, witness) = (Names::default(), Arc::new(Witness::new()));
        let (mut nets, mut servers) = (BTreeMap::new(), JoinSet::new());
        for host in scenario.hosts() {
            names.set(host, vec![namespaces.ip(host)], Duration::ZERO);
            let mounted = namespaces.mounted(host);
            let net = RealNet::new(&mounted, names.clone(), witness.clone()).map_err(bad)?;
            nets.insert(host.to_owned(), net);
        }
        for host in scenario.peers.keys() {
            let (net, names) = (nets[host].clone(), names.clone());
            servers.spawn_local(async move {
                // A peer that nobody answers says so itself.
                let _ = serve(net, names).await;
            });
        }
        let temporary = tempfile::tempdir().map_err(bad)?;
        let directory = logs.unwrap_or_else(|| temporary.path().to_owned());
        fs::create_dir_all(&directory).map_err(bad)?;
        let certificates = Certificates::make(scenario, TokioNet.unix_time());
        let tls = scenario.peers.iter().filter_map(|(host, peer)| Some((host, peer.tls.clone()?)));
        let backends = scenario.backends.iter();
        Ok(Self {
            software: BTreeMap::new(),
            later: JoinSet::new(),
            _servers: servers,
            peers: BTreeMap::new(),
            nets,
            namespaces,
            directory,
            _temporary: temporary,
            binary: binary.to_owned(),
            scenario: scenario.clone(),
            began_as: scenario.clone(),
            names,
            witness,
            certificates: certificates.map_err(|error| error.to_string())?,
            materials: tls.map(|(host, tls)| (host.clone(), Material::new(tls))).collect(),
            tempers: backends
                .map(|(host, spec)| (host.clone(), Rc::new(Temper::new(spec.clone()))))
                .collect(),
            orders: scenario.clients.iter().map(|host| (host.clone(), Rc::default())).collect(),
            outcomes: Outcomes::default(),
            raws: BTreeMap::new(),
            forwards: Vec::new(),
            exported: BTreeMap::new(),
            dark: Rc::default(),
            cut: Rc::default(),
            asked: 0,
            taken_over: 0,
            to_come: Rc::default(),
        })
    }

    /// Where what belongs to a host lies.
    pub(super) fn folder(&self, host: &str) -> PathBuf {
        self.directory.join(host)
    }

    /// A client shall make this request, `later` from now.
    pub(super) fn request_later(&mut self, later: Duration, request: Request) {
        self.asked += 1;
        let orders = self.orders[&request.from].clone();
        let ip = self.namespaces.ip(&request.from).into();
        let order = Order::new(self.asked, request, &self.began_as, ip);
        if later.is_zero() {
            return orders.request(order);
        }
        let to_come = self.to_come.clone();
        to_come.set(to_come.get() + 1);
        self.later.spawn_local(async move {
            tokio::time::sleep(later).await;
            orders.request(order);
            to_come.set(to_come.get() - 1);
        });
    }

    /// Whether every request that was ordered is over.
    pub(super) fn all_asked(&self) -> bool {
        self.to_come.get() == 0
            && self.orders.values().all(|orders| orders.is_empty())
            && self.outcomes.with(|all| all.iter().all(|one| one.ended.is_some()))
    }

    /// The id of a FORWARD line that a raw connection has heard: `last`, or its number.
    ///
    /// # Errors
    /// None has heard such a line; nobody listens in on those of peers.
    pub(super) fn forward_id(&self, which: &str) -> Result<String, String> {
        let id = match which {
            "last" => self.forwards.last(),
            number => {
                number.parse::<usize>().ok().and_then(|n| self.forwards.get(n.wrapping_sub(1)))
            }
        };
        let heard = self.forwards.len();
        id.cloned().ok_or_else(|| {
            format!("raw connections have heard {heard} FORWARD lines, and not the one {which:?}")
        })
    }

    /// Takes in what raw connections have heard.
    pub(super) fn listen_in(&mut self) {
        for raw in self.raws.values() {
            let heard = raw.heard.borrow();
            let text = String::from_utf8_lossy(&heard.received);
            for id in text.lines().filter_map(|line| line.strip_prefix("FORWARD:")) {
                let id = id.split(':').next().unwrap_or_default().to_owned();
                if !self.forwards.contains(&id) {
                    self.forwards.push(id);
                }
            }
        }
    }
}
