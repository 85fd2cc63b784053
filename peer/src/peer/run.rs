//! Starts a peer: binds its addresses, and begins all that it does.

use std::net::SocketAddr;
use std::sync::Arc;

use super::drain::drained;
use super::handle::{Addresses, PeerHandle};
use super::upkeep::{forget_names, summarise_log, warm_up, watch_tls_files};
use crate::backend::health::keep_checking;
use crate::config::{ConfigError, PeerConfig};
use crate::connecting::{Held, keep_links};
use crate::follow::{Kept, follow};
use crate::lock::Poisoned;
use crate::names::Name;
use crate::observe::admin::AdminServer;
use crate::observe::sinks::Sinks;
use crate::ports::{Bound, NotBound, Ports};
use crate::public::{Port, accept_loop};
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};
use crate::workers::Workers;

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

impl<N: Net> Peer<N> {
    /// Loads what the configuration names and binds its addresses.
    ///
    /// # Errors
    /// [`StartError`] for the first file or address that cannot be used.
    pub async fn start(config: PeerConfig, net: N) -> Result<Self, StartError> {
        Self::start_with(config, net, Sinks::default(), Workers::default()).await
    }

    /// As [`start`](Self::start), with those who take what it tells of each request, and those
    /// who run the tasks of its connections.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        config: PeerConfig,
        net: N,
        sinks: Sinks,
        workers: Workers,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(config, net, sinks, workers)?);
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
            shared.keep_accepting("the accept loop", move || {
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
    if let Some(listener) = admin {
        let server = Arc::new(AdminServer::new(shared.clone(), listener));
        shared.keep("the admin server", move || server.clone().serve());
    }
    let held = Held::new(shared.metrics.clone(), shared.config().idle_data);
    let (kept, upstreams) = (shared.clone(), Kept::new());
    shared.keep("the links to all listening peers", move || {
        let (to_each, held) = (kept.clone(), held.clone());
        let keep = move |upstream| keep_links(to_each.clone(), held.clone(), upstream);
        let what = "the links to a listening peer";
        follow(kept.clone(), upstreams.clone(), what, |config| config.connect.clone(), keep)
    });
    let (kept, checks) = (shared.clone(), Kept::new());
    shared.keep("the checks of all services", move || {
        let of_each = kept.clone();
        let keep = move |name| keep_checking(of_each.clone(), name);
        follow(kept.clone(), checks.clone(), "the checks of a service", checked, keep)
    });
    let kept = shared.clone();
    shared.keep("the warm-up", move || {
        let kept = kept.clone();
        async move {
            warm_up(&kept).await;
            kept.warm.send_replace(true);
        }
    });
    let kept = shared.clone();
    shared.keep("the forgetting of names", move || forget_names(kept.clone()));
    let kept = shared.clone();
    shared.keep("the look at TLS files", move || watch_tls_files(kept.clone()));
    let kept = shared.clone();
    shared.keep("the summary of the log", move || summarise_log(kept.clone()));
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

/// Ends all tasks, and lets go of the ports: handles may outlive the peer.
struct EndOnDrop<N: Net>(Arc<Shared<N>>, Arc<Ports<N>>);

impl<N: Net> Drop for EndOnDrop<N> {
    fn drop(&mut self) {
        let Self(shared, ports) = self;
        shared.tasks.abort_all();
        ports.hold(Bound::none());
    }
}
