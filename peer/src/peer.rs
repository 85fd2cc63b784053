//! A whole peer: binds, connects, serves, drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use crate::backend::health::keep_checking;
use crate::config::{ConfigError, PeerConfig, PortMapping};
use crate::connecting::{Held, keep_links};
use crate::limits::{
    CLOSE_GRACE, DRAIN_SETTLE, FORGET_INTERVAL, LOG_SUMMARY_INTERVAL, TLS_RELOAD_INTERVAL,
};
use crate::lock::Poisoned;
use crate::names::Name;
use crate::observe::access::AccessLog;
use crate::observe::admin::AdminServer;
use crate::observe::metrics::Snapshot;
use crate::public::{Port, accept_loop, datagram_loop};
use crate::shared::Shared;
use crate::stream::net::{Datagrams, Listener, Net};
use crate::tasks::Phase;

/// A peer that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file that the configuration names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address could not be bound.
    #[error("{key}: cannot listen on {addr}: {source}")]
    Bind {
        /// The configuration key of the address.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the network said.
        #[source]
        source: io::Error,
    },
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
    ports: Ports<N>,
    admin: Option<N::Listener>,
    addresses: Arc<Addresses>,
}

/// Where public traffic arrives.
struct Ports<N: Net> {
    streams: Vec<(N::Listener, Port)>,
    /// Each with the name that it routes to.
    datagrams: Vec<(N::Datagrams, Name)>,
}

#[derive(Debug)]
struct Addresses {
    listen: Option<SocketAddr>,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// Looks into a running peer and ends it.
pub struct PeerHandle<N: Net> {
    shared: Arc<Shared<N>>,
    addresses: Arc<Addresses>,
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
        let config = &shared.config;
        let mut ports = Ports { streams: Vec::new(), datagrams: Vec::new() };
        let mut addresses =
            Addresses { listen: None, tcp: Vec::new(), udp: Vec::new(), admin: None };
        if let Some(addr) = config.listen {
            let (listener, bound) = bind(&shared.net, "listen", addr).await?;
            addresses.listen = Some(bound);
            ports.streams.push((listener, Port::Mixed));
        }
        for mapping in &config.tcp {
            let (listener, bound) = bind(&shared.net, "tcp", mapping.addr).await?;
            addresses.tcp.push(bound);
            ports.streams.push((listener, Port::Tcp(mapping.name.clone())));
        }
        for PortMapping { addr, name } in &config.udp {
            let failed = |source| StartError::Bind { key: "udp", addr: *addr, source };
            let socket = shared.net.bind_udp(*addr).await.map_err(failed)?;
            addresses.udp.push(socket.local_addr().map_err(failed)?);
            ports.datagrams.push((socket, name.clone()));
        }
        let mut admin = None;
        if let Some(addr) = config.admin {
            let (listener, bound) = bind(&shared.net, "admin", addr).await?;
            addresses.admin = Some(bound);
            admin = Some(listener);
        }
        Ok(Self { shared, ports, admin, addresses: Arc::new(addresses) })
    }

    /// A handle to this peer, for as long as anyone likes.
    pub fn handle(&self) -> PeerHandle<N> {
        PeerHandle { shared: self.shared.clone(), addresses: self.addresses.clone() }
    }

    /// Serves until drained or stopped. Dropping the future ends every task.
    ///
    /// # Errors
    /// [`RunError`]; what still ran is cut.
    pub async fn run(self) -> Result<(), RunError> {
        let Self { shared, ports, admin, .. } = self;
        let _tasks = AbortOnDrop(shared.clone());
        begin(&shared, ports, admin);
        tokio::select! {
            biased;
            poisoned = shared.tasks.poisoned() => Err(poisoned.into()),
            () = drained(&shared) => Ok(()),
        }
    }
}

/// Begins all that the peer does by itself. It cannot do without any of it.
fn begin<N: Net>(shared: &Arc<Shared<N>>, ports: Ports<N>, admin: Option<N::Listener>) {
    let tasks = &shared.tasks;
    if let Some(listener) = admin {
        let server = Arc::new(AdminServer::new(shared.clone(), listener));
        tasks.keep("the admin server", move || server.clone().serve());
    }
    let held = Held::new(shared.metrics.clone(), shared.config.idle_data);
    for upstream in shared.config.connect.clone() {
        let (kept, held) = (shared.clone(), held.clone());
        tasks.keep("the links to a listening peer", move || {
            keep_links(kept.clone(), held.clone(), upstream.clone())
        });
    }
    for name in shared.health.standings().into_keys() {
        let kept = shared.clone();
        tasks.keep("the checks of a service", move || keep_checking(kept.clone(), name.clone()));
    }
    let kept = shared.clone();
    tasks.keep("the forgetting of names", move || forget_names(kept.clone()));
    let kept = shared.clone();
    tasks.keep("the look at TLS files", move || watch_tls_files(kept.clone()));
    let kept = shared.clone();
    tasks.keep("the summary of the log", move || summarise_log(kept.clone()));
    for (listener, port) in ports.streams {
        // The listening socket outlives a panic, and so do those who wait on it.
        let (kept, listener) = (shared.clone(), Arc::new(listener));
        tasks.keep("an accept loop", move || {
            accept_loop(kept.clone(), listener.clone(), port.clone())
        });
    }
    for (socket, name) in ports.datagrams {
        let (kept, socket) = (shared.clone(), Arc::new(socket));
        tasks.keep("a UDP port", move || datagram_loop(kept.clone(), socket.clone(), name.clone()));
    }
}

async fn bind<N: Net>(
    net: &N,
    key: &'static str,
    addr: SocketAddr,
) -> Result<(N::Listener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { key, addr, source };
    let listener = net.bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
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
/// limit. The accept loops live on: DATA connections still come through them. Nobody
/// waits for connections that have asked for nothing.
async fn drain<N: Net>(shared: &Shared<N>) {
    let timing = shared.config.timing;
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
    tokio::select! {
        biased;
        () = shared.tasks.entered(Phase::Closing) => {}
        () = drained => {}
    }
}

async fn forget_names<N: Net>(shared: Arc<Shared<N>>) {
    let retention = shared.config.timing.name_retention;
    loop {
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

struct AbortOnDrop<N: Net>(Arc<Shared<N>>);

impl<N: Net> Drop for AbortOnDrop<N> {
    fn drop(&mut self) {
        self.0.tasks.abort_all();
    }
}

impl<N: Net> Clone for PeerHandle<N> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), addresses: self.addresses.clone() }
    }
}

impl<N: Net> PeerHandle<N> {
    /// Where public traffic and peers arrive, with the port that was chosen.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.addresses.listen
    }

    /// The raw TCP listeners, in the order of the configuration.
    pub fn tcp_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.tcp.clone()
    }

    /// The UDP ports, in the order of the configuration.
    pub fn udp_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.udp.clone()
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

    /// The numbers of this moment, for whoever would only parse the text again.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.mesh.snapshot()
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

    /// Withdraws the names, accepts for the grace, lets requests end, and ends.
    pub fn drain(&self) {
        self.shared.tasks.enter(Phase::Draining);
    }

    /// Ends now: what still runs is cut.
    pub fn stop(&self) {
        self.shared.tasks.enter(Phase::Closing);
    }
}
