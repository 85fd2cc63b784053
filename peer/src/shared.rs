//! What the tasks of one peer share.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::accepting::Accepting;
use crate::backend::health::board::Board;
use crate::config::{ConfigError, PeerConfig};
use crate::handover::Predecessor;
use crate::mesh::admission::Admission;
use crate::mesh::hubs::Hubs;
use crate::mesh::outgoing::{Outgoing, Registered};
use crate::mesh::tables::Mesh;
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::access::AccessLog;
use crate::observe::journal::Journal;
use crate::observe::metrics::{LogReason, Metrics, Rejection};
use crate::observe::own_links::OwnLinks;
use crate::observe::rates::Rates;
use crate::observe::sinks::Sinks;
use crate::observe::spans::Tracing;
use crate::observe::{LogSource, Provoked};
use crate::stream::net::Net;
use crate::stream::resolve::Resolver;
use crate::stream::transport::Transport;
use crate::tasks::{Phase, Tasks};
use crate::trace_context::{Span, TraceContext};
use crate::trust::front::Front;
use crate::trust::tls::files::Tls;
use crate::workers::{Place, Workers};

/// One peer, as its tasks see it.
pub struct Shared<N: Net> {
    /// The network.
    pub net: N,
    /// Names to addresses, for all that is dialled.
    pub resolver: Resolver<N>,
    /// What it was told to do; [`config`](Self::config) reads it.
    config: ArcSwap<PeerConfig>,
    /// Counts the changes of that.
    reconfigured: watch::Sender<u64>,
    /// Its id, which never changes.
    pub peer_id: PeerId,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who takes the access log, if anybody does.
    pub access: Option<Arc<dyn AccessLog>>,
    /// Who takes spans, if anybody does.
    pub tracing: Option<Tracing>,
    /// What operators can ask about single requests.
    pub journal: Arc<Journal>,
    /// The links to listening peers, for operators.
    pub own_links: OwnLinks,
    /// What came within the last minute, where anybody asks.
    pub rates: Rates,
    /// The log lines that others can provoke.
    pub provoked: Provoked,
    /// Who serves what, and who waits.
    pub mesh: Mesh<Transport<N::Stream>>,
    /// How peers prove who they are; `None`, they speak plaintext.
    pub tls: Option<Tls>,
    /// Asks for a look at the files of both rather than at the next interval.
    pub reload: Notify,
    /// The names whose public TLS ends here.
    pub front: Option<Front>,
    /// Which services pass their checks.
    pub health: Board,
    /// Whether nobody is expected any more after the start.
    pub warm: watch::Sender<bool>,
    /// Which process takes connections.
    pub accepting: Accepting,
    /// The process in whose place this one takes connections.
    pub predecessor: OnceLock<Predecessor>,
    /// How many connections are in.
    pub admission: Admission,
    /// The connections to backends.
    pub outgoing: Outgoing,
    /// The listening peers that can be asked.
    pub hubs: Hubs,
    /// Its tasks and its phase.
    pub tasks: Tasks,
}

impl<N: Net> Shared<N> {
    /// A peer that runs nothing yet.
    ///
    /// # Errors
    /// The key of a TLS file that is missing or invalid.
    pub fn new(
        config: PeerConfig,
        net: N,
        sinks: Sinks,
        workers: Workers,
    ) -> Result<Self, ConfigError> {
        let Sinks { access, tracing } = sinks;
        let metrics = Arc::new(Metrics::new(&config));
        let tls = match config.tls.is_set() {
            true => Some(Tls::open(&net, &config, &metrics)?),
            false => None,
        };
        let mesh = Mesh::new(metrics.clone(), config.capacity, config.ways, config.offers());
        mesh.ask_upstream(config.reach.iter().cloned());
        mesh.recall(config.expect.iter().cloned(), true);
        let spans = tracing.as_ref().map(|tracing| tracing.sink.clone());
        Ok(Self {
            reload: Notify::new(),
            front: match &config.public_cert {
                Some(directory) => Some(Front::open(&net, directory, &metrics)?),
                None => None,
            },
            tls,
            access,
            tracing,
            journal: Arc::new(Journal::new(spans)),
            own_links: OwnLinks::default(),
            rates: Rates::default(),
            health: Board::new(&config),
            warm: watch::Sender::new(false),
            accepting: Accepting::default(),
            predecessor: OnceLock::new(),
            admission: Admission::new(config.capacity),
            outgoing: Outgoing::default(),
            hubs: Hubs::default(),
            mesh,
            tasks: Tasks::new(metrics.clone(), workers),
            provoked: Provoked::new(metrics.clone()),
            metrics,
            peer_id: config.peer_id.clone(),
            reconfigured: watch::Sender::new(0),
            config: ArcSwap::from_pointee(config),
            resolver: Resolver::new(net.clone()),
            net,
        })
    }

    /// What this peer is told to do at this moment. To be read anew for each request.
    pub fn config(&self) -> arc_swap::Guard<Arc<PeerConfig>> {
        self.config.load()
    }

    /// The same, for whoever goes on with it for a while.
    pub fn config_of_now(&self) -> Arc<PeerConfig> {
        self.config.load_full()
    }

    /// From now on it is told this.
    pub fn set_config(&self, config: PeerConfig) {
        self.config.store(Arc::new(config));
        self.reconfigured.send_modify(|count| *count += 1);
    }

    /// Tells of each change of what it is told to do.
    pub fn reconfigurations(&self) -> watch::Receiver<u64> {
        self.reconfigured.subscribe()
    }

    /// Runs a task [as the network schedules it](Net::scheduled), where the caller runs, until it
    /// ends or the peer does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.net.scheduled(task));
    }

    /// Runs the task of a connection there, as [`spawn`](Self::spawn) does.
    pub fn spawn_at(&self, place: Place, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_at(place, self.net.scheduled(task));
    }

    /// As [`spawn_at`](Self::spawn_at), of a connection that waits for requests there.
    pub fn spawn_in_reserve(&self, place: Place, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_in_reserve(place, self.net.scheduled(task));
    }

    /// Runs the task that `begin` makes as [`spawn`](Self::spawn) does, and makes it again
    /// after a panic: for what the peer cannot do without. The log says `what` that is.
    pub fn keep<F>(&self, what: &'static str, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_at(Place::here(), what, begin);
    }

    /// As [`keep`](Self::keep), on each worker that accepts connections.
    pub fn keep_accepting<F>(
        &self,
        what: &'static str,
        begin: impl Fn() -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        for place in self.tasks.workers().accepting() {
            self.keep_at(place, what, begin.clone());
        }
    }

    fn keep_at<F>(&self, place: Place, what: &'static str, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let net = self.net.clone();
        self.tasks.keep_at(place, what, move || net.scheduled(begin()));
    }

    /// Counts what was refused to `source`; whether to log it, too.
    pub fn rejected(&self, source: impl Into<LogSource>, reason: Rejection) -> bool {
        self.metrics.rejected(reason);
        self.may_log(source, reason)
    }

    /// Whether to log what `source` has provoked, of which there may be any number; if
    /// not, that is counted.
    pub fn may_log(&self, source: impl Into<LogSource>, reason: impl Into<LogReason>) -> bool {
        self.provoked.may_log(source.into(), reason.into())
    }

    /// Whether `source` is a proxy that tells whom it speaks for.
    pub fn trusts(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.config().trusted_proxies.iter().any(|net| net.contains(&source))
    }

    /// Whether a peer from `source` may speak plaintext: not where TLS is set up,
    /// for there somebody on loopback may be a proxy of strangers.
    pub fn lets_in_plaintext(&self, source: IpAddr) -> bool {
        let secure = self.tls.as_ref().is_some_and(|tls| tls.current().server.is_some());
        self.config().insecure_plaintext || (!secure && source.to_canonical().is_loopback())
    }

    /// Tells of each look at the files of TLS; never, without TLS.
    pub fn looks_at_tls(&self) -> watch::Receiver<()> {
        match &self.tls {
            Some(tls) => tls.looks(),
            None => watch::channel(()).1,
        }
    }

    /// Whether traffic may be sent here: not draining, and listening, with the names that
    /// are expected, or registered with a listening peer.
    pub fn is_ready(&self) -> bool {
        let registered =
            || self.config().connect.iter().any(|one| self.metrics.is_link_up(&one.endpoint));
        let takes_traffic = match self.config().is_listening() {
            true => self.mesh.expected() == 0,
            false => registered(),
        };
        takes_traffic && self.tasks.phase() == Phase::Serving
    }

    /// Notes that `stream`, to a backend, carries a request for `name`; `None` for a
    /// connection that has failed already.
    pub fn register_outgoing(&self, stream: &N::Stream, name: &Name) -> Option<Registered> {
        let (local, remote) = (self.net.local_addr(stream).ok()?, self.net.peer_addr(stream).ok()?);
        Some(self.outgoing.register(local, remote, name))
    }

    /// Closes `stream` so that the other end takes it for no clean end.
    pub fn abort(&self, stream: Transport<N::Stream>) {
        self.net.abort(stream.into_inner());
    }

    /// Whether a request of this id is on its way from here: if it comes back, it goes round
    /// in a loop.
    pub fn is_under_way(&self, id: ProxyId) -> bool {
        self.mesh.is_waiting(id) || self.hubs.is_asking(id)
    }

    /// What a request is in the trace of what has caused it, or in a new one; nothing, unless
    /// this peer traces.
    pub fn span(&self, parent: Option<TraceContext>) -> Option<Box<Span>> {
        let tracing = self.tracing.as_ref()?;
        let mut random = [0; 24];
        self.net.fill_random(&mut random);
        Some(Box::new(tracing.span(parent, random)))
    }

    /// A proxy id that was never used.
    pub fn proxy_id(&self) -> ProxyId {
        let mut bytes = [0; 16];
        self.net.fill_random(&mut bytes);
        ProxyId::from_random(bytes)
    }

    /// A uniformly random number.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.net.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
