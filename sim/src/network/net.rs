//! The network as one host sees it.

use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ops_proxy::http::Conversation;
use ops_proxy::stream::net::Net;
use ops_proxy::stream::relay::{
    Ahead, Leaving, Meter, Over, RelayError, Side, carry_both, converse,
};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tokio_rustls::rustls::crypto::CryptoProvider;

use super::datagrams::SimDatagrams;
use super::dial::dial;
use super::fabric::Fabric;
use super::listener::SimListener;
use super::pipe::SimPipe;
use super::schedule::{Ordered, Schedule};
use super::stream::SimStream;
use super::watched::Watched;
use crate::ground::Ground;
use crate::tls::crypto;
use crate::trace::{Fnv, What};

/// How long a system's resolver asks two servers that do not answer: five seconds each,
/// twice.
const RESOLVER_GIVES_UP: Duration = Duration::from_secs(20);

/// The network as one host sees it.
#[derive(Debug, Clone)]
pub struct SimNet {
    fabric: Fabric,
    ip: IpAddr,
    random: Arc<Mutex<SmallRng>>,
    schedule: Option<Schedule>,
}

impl SimNet {
    /// The network of the host at `ip`. Its randomness follows from `seed`, the
    /// host's name and how often it was started: nothing that others draw.
    pub fn new(fabric: Fabric, ip: IpAddr, seed: u64, name: &str, start: u64) -> Self {
        let mut hash = Fnv::default();
        (seed, name, start).hash(&mut hash);
        let random = SmallRng::seed_from_u64(hash.finish());
        Self { fabric, ip, random: Arc::new(Mutex::new(random)), schedule: None }
    }

    /// The same; the tasks of the host run in an order that follows from its randomness.
    pub fn in_random_order(self) -> Self {
        let seed = self.random.lock().expect("nothing panics while it holds this").next_u64();
        Self { schedule: Some(Schedule::new(seed)), ..self }
    }
}

impl Ground for SimNet {
    fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.fabric.state().now)
    }

    fn wrong(&self, what: String) {
        self.fabric.state().wrong(what);
    }

    fn over(&self, text: String) {
        self.fabric.state().note(What::Outcome { text });
    }

    /// Its polls are counted.
    fn watched<T: Future>(&self, task: T) -> impl Future<Output = T::Output> + use<T> {
        Watched::new(self.fabric.clone(), self.ip, task)
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;
    type Datagrams = SimDatagrams;

    async fn bind(&self, addr: SocketAddr) -> io::Result<SimListener> {
        let listener = SimListener::bind(addr, &self.fabric, self.ip).await?;
        Ok(listener.under(self.schedule.clone()))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
        let result = dial(&self.fabric, self.ip, addr).await;
        if let Err(error) = &result {
            let mut state = self.fabric.state();
            let (to, error) = (state.show(addr), error.kind().to_string());
            state.event(self.ip, What::DialFailed { to, error });
        }
        result.map(|stream| stream.under(self.schedule.clone()))
    }

    async fn bind_udp(&self, addr: SocketAddr) -> io::Result<SimDatagrams> {
        SimDatagrams::bind(addr, &self.fabric, self.ip).await
    }

    async fn connect_udp(&self, addr: SocketAddr) -> io::Result<SimDatagrams> {
        SimDatagrams::connect(addr, &self.fabric, self.ip).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let takes = {
            let mut state = self.fabric.state();
            *state.counters.lookups.entry(host.to_owned()).or_default() += 1;
            state.lookup_times.get(host).copied()
        };
        if let Some(takes) = takes {
            tokio::time::sleep(takes.min(RESOLVER_GIVES_UP)).await;
            if takes >= RESOLVER_GIVES_UP {
                return Err(io::Error::other("temporary failure in name resolution"));
            }
        }
        match self.fabric.state().names.get(host) {
            Some(ips) => Ok(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        }
    }

    fn local_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(stream.local_addr())
    }

    fn peer_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(stream.peer_addr())
    }

    async fn reset(&self, stream: &mut SimStream) {
        poll_fn(|cx| stream.poll_reset(cx)).await;
    }

    fn scheduled<T>(&self, task: T) -> impl Future<Output = T::Output> + Send + 'static + use<T>
    where
        T: Future<Output: Send> + Send + 'static,
    {
        Ordered::new(Box::pin(self.watched(task)), self.schedule.clone())
    }

    fn abort(&self, stream: SimStream) {
        stream.abort();
    }

    fn unix_time(&self) -> Duration {
        let now = turmoil::since_epoch().expect("peers run on hosts of the simulation");
        let mut state = self.fabric.state();
        *state.counters.clock_reads.entry(self.ip).or_default() += 1;
        state.clocks.get(&self.ip).map_or(now, |ahead| ahead.counted_from(now))
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.fabric.state();
        let files = state.files.get_mut(&self.ip);
        files.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |files| files.read(path))
    }

    fn crypto_provider(&self) -> Arc<CryptoProvider> {
        crypto::provider()
    }

    async fn relay<M: Meter>(
        &self,
        public: &mut Side<&mut SimStream>,
        backend: &mut Side<&mut SimStream>,
        meter: &M,
    ) -> Result<(), RelayError> {
        let outstanding = |public: &&mut SimStream, backend: &&mut SimStream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        carry_both::<SimPipe, _, _, _>(public, backend, meter, Some(outstanding)).await
    }

    async fn converse<M: Meter>(
        &self,
        public: &mut Side<&mut SimStream>,
        backend: &mut Side<&mut SimStream>,
        ahead: Ahead,
        conversation: &mut Conversation,
        meter: &M,
        leaving: Leaving<'_>,
    ) -> Result<Over, RelayError> {
        let outstanding = |public: &&mut SimStream, backend: &&mut SimStream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        converse::<SimPipe, _, _, _>(
            public,
            backend,
            ahead,
            conversation,
            meter,
            leaving,
            Some(outstanding),
        )
        .await
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.random.lock().expect("a run is one thread").fill_bytes(bytes);
    }
}
