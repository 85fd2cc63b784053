//! What those outside a running peer can see of it and tell it: its addresses and numbers,
//! another configuration, a successor, its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::{PeerConfig, Upstream};
use crate::handover::{Predecessor, Secret};
use crate::limits::CONNECTED_LOOK;
use crate::listening::take_back;
use crate::mesh::returning::KnownNames;
use crate::names::PeerId;
use crate::observe::metrics::{ConfigReloads, KubernetesServices, Served, Snapshot};
use crate::ports::{NotBound, Ports};
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};
use crate::tasks::Phase;
use crate::trust::Permission;

/// What is bound for as long as the peer runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    /// Where public traffic and peers arrive.
    pub(super) listen: Option<SocketAddr>,
    /// Where it is looked into.
    pub(super) admin: Option<SocketAddr>,
}

/// Looks into a running peer and ends it.
pub struct PeerHandle<N: Net> {
    pub(super) shared: Arc<Shared<N>>,
    pub(super) ports: Arc<Ports<N>>,
    pub(super) addresses: Addresses,
    pub(super) listen: Fixed<N>,
    pub(super) admin: Fixed<N>,
}

/// A socket that stays the same for as long as the peer runs, with the address that it was
/// configured with.
pub(super) type Fixed<N> = Option<(SocketAddr, Weak<<N as Net>::Listener>)>;

/// A successor is expected, until this is dropped.
#[must_use]
pub struct Expecting(
    #[expect(dead_code, reason = "dropping it is what says so")] watch::Sender<()>,
);

/// All that a peer is bound to, each with the address that it was configured with, in the
/// order in which they are bound.
pub struct Sockets<N: Net> {
    /// Where it accepts connections.
    pub tcp: Vec<(SocketAddr, Arc<N::Listener>)>,
    /// Where it takes datagrams.
    pub udp: Vec<(SocketAddr, Arc<N::Datagrams>)>,
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

    /// Has `/metrics` say how many spans were `sent`, and how many `lost`. To be called once,
    /// by whoever sends them.
    pub fn export_spans(
        &self,
        sent: impl Fn() -> u64 + Send + Sync + 'static,
        lost: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.shared.metrics.export_spans(sent, lost);
    }

    /// Has `/metrics` tell of the process, which this peer must have to itself. To be called
    /// once.
    pub fn export_process(&self) {
        self.shared.metrics.export_process();
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
        self.shared.keep(what, begin);
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

    /// What was served of this peer's own services, and all that listening peers have sent here.
    pub fn served(&self) -> (Served, Served) {
        self.shared.metrics.served_in_all()
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

    /// Returns once every worker has answered and the tables that every request needs could be
    /// looked at: never, while one of these is stuck.
    pub async fn is_alive(&self) {
        self.shared.tasks.workers().answered().await;
        self.shared.mesh.expected();
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
        shared.metrics.keep_served(|name| new.services.contains_key(name));
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
    /// the DATA connections that are for this peer, until [`Expecting`] is dropped.
    ///
    /// # Errors
    /// What the network says if no address on loopback can be bound.
    pub async fn expect_successor(&self) -> io::Result<(Predecessor, Expecting)> {
        let shared = &self.shared;
        let listener = Arc::new(shared.net.bind((Ipv4Addr::LOCALHOST, 0).into()).await?);
        let mut secret = [0; 32];
        shared.net.fill_random(&mut secret);
        let secret = Secret::from_random(secret);
        let addr = listener.local_addr()?;
        let (kept, known) = (shared.clone(), secret.clone());
        let (expecting, given_up) = watch::channel(());
        shared.keep("the taking back of connections", move || {
            let taking = take_back(kept.clone(), listener.clone(), known.clone());
            let mut given_up = given_up.clone();
            async move {
                tokio::select! {
                    biased;
                    () = taking => {}
                    // Nothing is ever sent: an error means that nobody expects any more.
                    _ = given_up.changed() => {}
                }
            }
        });
        Ok((Predecessor { peer: self.peer_id(), addr, secret }, Expecting(expecting)))
    }

    /// Takes no more connections and datagrams, and returns once that is so: from then on a
    /// successor does through the same sockets, and connecting peers are told. What runs goes
    /// on, and so do its links. Has no deadline: the caller sets one.
    pub async fn hand_over(&self) {
        self.shared.accepting.hand_over().await;
    }

    /// Takes connections and datagrams again, if they were handed over.
    pub fn take_back(&self) {
        self.shared.accepting.take_back();
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
