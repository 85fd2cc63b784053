//! A whole peer: binds, connects, serves, drains.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backend::health::keep_checking;
use crate::config::{ConfigError, PeerConfig, Upstream};
use crate::connecting::{Held, keep_links};
use crate::follow::{Kept, follow};
use crate::handover::{Predecessor, Secret};
use crate::limits::{
    CLOSE_GRACE, CONNECTED_LOOK, DRAIN_SETTLE, FORGET_INTERVAL, LOG_SUMMARY_INTERVAL, NAMES_LOGGED,
    TLS_RELOAD_INTERVAL,
};
use crate::listening::take_back;
use crate::lock::Poisoned;
use crate::mesh::returning::KnownNames;
use crate::names::{Name, PeerId};
use crate::observe::access::AccessLog;
use crate::observe::admin::AdminServer;
use crate::observe::metrics::{ConfigReloads, KubernetesServices, Snapshot};
use crate::ports::{Bound, NotBound, Ports};
use crate::public::{Port, accept_loop};
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};
use crate::tasks::Phase;
use crate::trust::Permission;

/// A peer that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file that the configuration names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] NotBound),
}

/// A peer that ended otherwise than by being drained or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A panic left half changed what the whole peer needs. Only a new process mends
    /// that.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// A peer whose addresses are bound. [`run`](Self::run) serves them.
pub struct Peer<N: Net> {
    shared: Arc<Shared<N>>,
    listener: Option<Arc<N::Listener>>,
    ports: Arc<Ports<N>>,
    admin: Option<Arc<N::Listener>>,
    addresses: Addresses,
}

/// What is bound for as long as the peer runs.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// Looks into a running peer and ends it.
pub struct PeerHandle<N: Net> {
    shared: Arc<Shared<N>>,
    ports: Arc<Ports<N>>,
    addresses: Addresses,
    listen: Fixed<N>,
    admin: Fixed<N>,
}

/// A socket that stays the same for as long as the peer runs, with the address that it was
/// configured with.
type Fixed<N> = Option<(SocketAddr, Weak<<N as Net>::Listener>)>;

/// All that a peer is bound to, each with the address that it was configured with, in the
/// order in which they are bound.
pub struct Sockets<N: Net> {
    /// Where it accepts connections.
    pub tcp: Vec<(SocketAddr, Arc<N::Listener>)>,
    /// Where it takes datagrams.
    pub udp: Vec<(SocketAddr, Arc<N::Datagrams>)>,
}

impl<N: Net> Peer<N> {
    /// Loads what the configuration names and binds its addresses.
    ///
    /// # Errors
    /// [`StartError`] for the first file or address that cannot be used.
    pub async fn start(config: PeerConfig, net: N) -> Result<Self, StartError> {
        Self::start_logging(config, net, None).await
    }

    /// As [`start`](Self::start), with someone who takes the access log.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_logging(
        config: PeerConfig,
        net: N,
        access: Option<Arc<dyn AccessLog>>,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(config, net, access)?);
        let config = shared.config_of_now();
        let (listener, listen) = bind(&shared.net, "listen", config.listen).await?;
        let ports = Arc::new(Ports::new());
        ports.hold(ports.bind(&shared.net, &config).await?);
        let (admin, admin_addr) = bind(&shared.net, "admin", config.admin).await?;
        let addresses = Addresses { listen, admin: admin_addr };
        Ok(Self { shared, listener, ports, admin, addresses })
    }

    /// A handle to this peer, for as long as anyone likes.
    pub fn handle(&self) -> PeerHandle<N> {
        let Self { shared, ports, addresses, listener, admin } = self;
        let config = shared.config();
        let of = |addr: Option<SocketAddr>, socket: &Option<Arc<N::Listener>>| {
            Some((addr?, Arc::downgrade(socket.as_ref()?)))
        };
        PeerHandle {
            shared: shared.clone(),
            ports: ports.clone(),
            addresses: *addresses,
            listen: of(config.listen, listener),
            admin: of(config.admin, admin),
        }
    }

    /// Serves until drained or stopped. Dropping the future ends every task.
    ///
    /// # Errors
    /// [`RunError`]; what still ran is cut.
    pub async fn run(self) -> Result<(), RunError> {
        let Self { shared, listener, ports, admin, .. } = self;
        let _tasks = EndOnDrop(shared.clone(), ports.clone());
        begin(&shared, admin);
        if let Some(listener) = listener {
            // The listening socket outlives a panic, and so do those who wait on it.
            let kept = shared.clone();
            shared.tasks.keep("the accept loop", move || {
                accept_loop(kept.clone(), listener.clone(), Port::Mixed)
            });
        }
        ports.serve(&shared);
        tokio::select! {
            biased;
            poisoned = shared.tasks.poisoned() => Err(poisoned.into()),
            () = drained(&shared) => Ok(()),
        }
    }
}

/// Begins all that the peer does by itself. It cannot do without any of it.
fn begin<N: Net>(shared: &Arc<Shared<N>>, admin: Option<Arc<N::Listener>>) {
    let tasks = &shared.tasks;
    if let Some(listener) = admin {
        let server = Arc::new(AdminServer::new(shared.clone(), listener));
        tasks.keep("the admin server", move || server.clone().serve());
    }
    let held = Held::new(shared.metrics.clone(), shared.config().idle_data);
    let (kept, upstreams) = (shared.clone(), Kept::new());
    tasks.keep("the links to all listening peers", move || {
        let (to_each, held) = (kept.clone(), held.clone());
        let keep = move |upstream| keep_links(to_each.clone(), held.clone(), upstream);
        let what = "the links to a listening peer";
        follow(kept.clone(), upstreams.clone(), what, |config| config.connect.clone(), keep)
    });
    let (kept, checks) = (shared.clone(), Kept::new());
    tasks.keep("the checks of all services", move || {
        let of_each = kept.clone();
        let keep = move |name| keep_checking(of_each.clone(), name);
        follow(kept.clone(), checks.clone(), "the checks of a service", checked, keep)
    });
    let kept = shared.clone();
    tasks.keep("the warm-up", move || {
        let kept = kept.clone();
        async move {
            warm_up(&kept).await;
            kept.warm.send_replace(true);
        }
    });
    let kept = shared.clone();
    tasks.keep("the forgetting of names", move || forget_names(kept.clone()));
    let kept = shared.clone();
    tasks.keep("the look at TLS files", move || watch_tls_files(kept.clone()));
    let kept = shared.clone();
    tasks.keep("the summary of the log", move || summarise_log(kept.clone()));
}

/// The services that are to be checked.
fn checked(config: &PeerConfig) -> Vec<Name> {
    let checked = config.services.iter().filter(|(_, service)| service.health.is_some());
    checked.map(|(name, _)| name.clone()).collect()
}

/// Binds an address, if there is one.
async fn bind<N: Net>(
    net: &N,
    key: &'static str,
    addr: Option<SocketAddr>,
) -> Result<(Option<Arc<N::Listener>>, Option<SocketAddr>), NotBound> {
    let Some(addr) = addr else { return Ok((None, None)) };
    let failed = |source| NotBound { key, addr, source };
    let listener = net.bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((Some(Arc::new(listener)), Some(bound)))
}

/// Returns when the peer was told to end, and has.
async fn drained<N: Net>(shared: &Shared<N>) {
    shared.tasks.entered(Phase::Draining).await;
    drain(shared).await;
    // What is cut gets the time to be reset rather than closed cleanly.
    shared.tasks.enter(Phase::Closing);
    let ended = async {
        shared.tasks.idle().await;
        shared.tasks.left().await;
    };
    let _ = timeout(CLOSE_GRACE, ended).await;
    shared.provoked.summarise();
}

/// Takes new requests for the grace, then lets running ones end within the
/// limit. A peer that only connects is done as soon as none runs. The accept loops live on: DATA connections still come through them. Nobody
/// waits for connections that have asked for nothing.
async fn drain<N: Net>(shared: &Shared<N>) {
    let timing = shared.config().timing;
    let drained = async {
        // Whoever balances the load needs time to see that we are not ready.
        sleep(timing.drain_grace).await;
        shared.tasks.enter(Phase::Finishing);
        // What has arrived by now is still to be read and answered.
        let settle = DRAIN_SETTLE.min(timing.drain_limit);
        sleep(settle).await;
        if timeout(timing.drain_limit - settle, shared.tasks.idle()).await.is_err() {
            tracing::warn!("drain limit reached; cutting the requests that still run");
        }
    };
    // Links end when nothing comes through them any more.
    let left = async {
        if shared.config().is_listening() {
            pending::<()>().await;
        }
        shared.tasks.left().await;
        shared.tasks.idle().await;
    };
    tokio::select! {
        biased;
        () = shared.tasks.entered(Phase::Closing) => {}
        () = left => {}
        () = drained => {}
    }
}

/// Returns when all names that are expected are there, or when that has taken too long.
async fn warm_up<N: Net>(shared: &Shared<N>) {
    let expected = shared.mesh.expected();
    if expected == 0 {
        return;
    }
    let mut changes = shared.mesh.changes();
    let back = async { while shared.mesh.expected() > 0 && changes.changed().await.is_ok() {} };
    let warm_up = shared.config().timing.warm_up;
    tracing::info!(names = expected, "waiting for the names that are expected to be registered");
    let _ = timeout(warm_up, back).await;
    let missing = shared.mesh.stop_expecting();
    if missing.is_empty() {
        return tracing::info!(names = expected, "all names that are expected are registered");
    }
    let first: Vec<&str> = missing.iter().map(Name::as_str).take(NAMES_LOGGED).collect();
    let (names, first) = (missing.len(), first.join(", "));
    let waited = humantime::format_duration(warm_up);
    tracing::warn!(names, %first, %waited, "names that are expected were not registered in time; clients get 503 for them until they are");
}

async fn forget_names<N: Net>(shared: Arc<Shared<N>>) {
    loop {
        let retention = shared.config().timing.name_retention;
        sleep(retention.min(FORGET_INTERVAL)).await;
        shared.mesh.forget_names(retention);
    }
}

async fn summarise_log<N: Net>(shared: Arc<Shared<N>>) {
    loop {
        sleep(LOG_SUMMARY_INTERVAL).await;
        shared.provoked.summarise();
    }
}

async fn watch_tls_files<N: Net>(shared: Arc<Shared<N>>) {
    if shared.tls.is_none() && shared.front.is_none() {
        return;
    }
    loop {
        // Asked for or not: whichever comes first.
        let _ = timeout(TLS_RELOAD_INTERVAL, shared.reload.notified()).await;
        if let Some(tls) = &shared.tls {
            tls.reload(&shared.net, &shared.metrics);
        }
        if let Some(front) = &shared.front {
            front.reload(&shared.net, &shared.metrics);
        }
    }
}

/// Ends all tasks, and lets go of the ports: handles may outlive the peer.
struct EndOnDrop<N: Net>(Arc<Shared<N>>, Arc<Ports<N>>);

impl<N: Net> Drop for EndOnDrop<N> {
    fn drop(&mut self) {
        let Self(shared, ports) = self;
        shared.tasks.abort_all();
        ports.hold(Bound::none());
    }
}

impl<N: Net> Clone for PeerHandle<N> {
    fn clone(&self) -> Self {
        let Self { shared, ports, addresses, listen, admin } = self;
        Self {
            shared: shared.clone(),
            ports: ports.clone(),
            addresses: *addresses,
            listen: listen.clone(),
            admin: admin.clone(),
        }
    }
}

impl<N: Net> PeerHandle<N> {
    /// Where public traffic and peers arrive, with the port that was chosen.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.addresses.listen
    }

    /// The raw TCP listeners, in the order of the configuration.
    pub fn tcp_addrs(&self) -> Vec<SocketAddr> {
        self.ports.tcp()
    }

    /// The UDP ports, in the order of the configuration.
    pub fn udp_addrs(&self) -> Vec<SocketAddr> {
        self.ports.udp()
    }

    /// Where `/metrics` is served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// What `/metrics` answers now.
    pub fn metrics_text(&self) -> String {
        self.shared.metrics.render(&self.shared.mesh.snapshot())
    }

    /// Has `/metrics` say how many lines the log of this process has lost. To be called
    /// once.
    pub fn export_lost_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.shared.metrics.export_lost_log_lines(read);
    }

    /// Has `/metrics` say how often the configuration was read again. To be called once.
    pub fn export_config_reloads(&self) -> ConfigReloads {
        self.shared.metrics.export_config_reloads()
    }

    /// Has `/metrics` tell of the Services of Kubernetes. To be called once, by whoever
    /// watches them.
    pub fn export_kubernetes(&self) -> KubernetesServices {
        self.shared.metrics.export_kubernetes()
    }

    /// Keeps a task beside those of the peer: it restarts after a panic, and ends with them.
    pub fn keep<F>(&self, what: &'static str, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shared.tasks.keep(what, begin);
    }

    /// Which names this peer may register now, as far as it can know by itself.
    pub fn permission(&self) -> Permission {
        let config = self.shared.config();
        let tls = self.shared.tls.as_ref();
        tls.map_or(Permission::Any, |tls| tls.current().own_permission(&config))
    }

    /// Tells of each look at the files of TLS, which may change that; never, without TLS.
    pub fn looks_at_tls(&self) -> watch::Receiver<()> {
        self.shared.looks_at_tls()
    }

    /// The numbers of this moment, for whoever would only parse the text again.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.mesh.snapshot()
    }

    /// The names that others have registered here, and those they had: what a peer that takes
    /// the place of this one should know.
    pub fn known_names(&self) -> KnownNames {
        self.shared.mesh.known_names()
    }

    /// Tells of each change of who serves what.
    pub fn name_changes(&self) -> watch::Receiver<u64> {
        self.shared.mesh.changes()
    }

    /// Knows the names that a peer knew in whose place this one is. Those that were `up` are
    /// expected back. To be called before the peer runs.
    pub fn recall(&self, KnownNames { up, down }: KnownNames) {
        self.shared.mesh.recall(down, false);
        self.shared.mesh.recall(up, true);
    }

    /// Returns when the names that were expected after the start are there, or were given up.
    pub async fn warmed_up(&self) {
        // The sender is ours and outlives the wait.
        let _ = self.shared.warm.subscribe().wait_for(|warm| *warm).await;
    }

    /// How long it waits for the names that it expects.
    pub fn warm_up(&self) -> Duration {
        self.shared.config().timing.warm_up
    }

    /// What `/readyz` answers now.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// Looks at the files of certificates, keys and tokens now; does nothing for
    /// a peer without TLS.
    pub fn reload(&self) {
        self.shared.reload.notify_one();
    }

    /// Does from now on what `new` says, as far as that can change while the peer runs: what
    /// runs goes on, and what stays the same is not touched. Returns the keys of what stays
    /// as it was, for it needs a restart. To be called once at a time.
    ///
    /// # Errors
    /// [`NotBound`] for a port that cannot be bound; then nothing has changed.
    pub async fn reconfigure(&self, new: PeerConfig) -> Result<Vec<&'static str>, NotBound> {
        let Self { shared, ports, .. } = self;
        let old = shared.config_of_now();
        let (new, fixed) = old.changed_to(new);
        let bound = ports.bind(&shared.net, &new).await?;
        shared.mesh.before_change(&old, &new);
        shared.health.reconfigure(&old, &new);
        shared.admission.set_capacity(new.capacity);
        shared.set_config(new.clone());
        shared.mesh.after_change(&old, &new, |name| shared.health.is_up(name));
        ports.hold(bound);
        ports.serve(shared);
        Ok(fixed)
    }

    /// What it is called.
    pub fn peer_id(&self) -> PeerId {
        self.shared.peer_id.clone()
    }

    /// All that it is bound to now, to be handed to another process.
    pub fn sockets(&self) -> Sockets<N> {
        let fixed = |one: &Fixed<N>| {
            let (addr, socket) = one.as_ref()?;
            Some((*addr, socket.upgrade()?))
        };
        let (ports, udp) = self.ports.sockets();
        let tcp = fixed(&self.listen).into_iter().chain(ports).chain(fixed(&self.admin));
        Sockets { tcp: tcp.collect(), udp }
    }

    /// Gets ready for a successor, which is to know what this returns: takes back from it
    /// the DATA connections that are for this peer.
    ///
    /// # Errors
    /// What the network says if no address on loopback can be bound.
    pub async fn expect_successor(&self) -> io::Result<Predecessor> {
        let shared = &self.shared;
        let listener = Arc::new(shared.net.bind((Ipv4Addr::LOCALHOST, 0).into()).await?);
        let mut secret = [0; 32];
        shared.net.fill_random(&mut secret);
        let secret = Secret::from_random(secret);
        let addr = listener.local_addr()?;
        let (kept, known) = (shared.clone(), secret.clone());
        shared.tasks.keep("the taking back of connections", move || {
            take_back(kept.clone(), listener.clone(), known.clone())
        });
        Ok(Predecessor { peer: self.peer_id(), addr, secret })
    }

    /// From now on a successor takes connections and datagrams through the same
    /// sockets, and connecting peers are told; or, if it is `false`, it does no longer, and
    /// this peer takes them again. What runs goes on, and so do its links.
    pub fn hand_over(&self, is_handed_over: bool) {
        self.shared.handed_over.send_replace(is_handed_over);
    }

    /// Passes back to `predecessor` the DATA connections that are for it. To be called before
    /// the peer runs.
    pub fn succeed(&self, predecessor: Predecessor) {
        // It has one at most, which is known from the start.
        let _ = self.shared.predecessor.set(predecessor);
    }

    /// Returns once a link to each upstream is up, with its names registered.
    pub async fn connected(&self) {
        let shared = &self.shared;
        let is_up = |one: &Upstream| shared.metrics.is_link_up(&one.endpoint);
        while !shared.config().connect.iter().all(is_up) {
            sleep(CONNECTED_LOOK).await;
        }
    }

    /// Withdraws the names, accepts for the grace, lets requests end, and ends.
    pub fn drain(&self) {
        self.shared.tasks.enter(Phase::Draining);
    }

    /// Ends now: what still runs is cut.
    pub fn stop(&self) {
        self.shared.tasks.enter(Phase::Closing);
    }
}
