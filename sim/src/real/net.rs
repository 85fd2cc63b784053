//! The network of one host: tokio's sockets, made in the host's namespace.
//!
//! A socket belongs for good to the namespace in which it was made, so one thread can have
//! sockets in all of them: it enters a namespace to make one, and leaves again.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ops_proxy::stream::net::Net;
use ops_proxy::stream::net::tokio::TokioNet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::{Instant, sleep};

use super::names::Names;
use crate::ground::Ground;

/// A socket that was closed is there for at most this time: a process that another thread is
/// about to start has it, too, until it becomes another program.
const LINGERS: Duration = Duration::from_secs(2);

/// The network of one host.
#[derive(Debug, Clone)]
pub(super) struct RealNet(Arc<Place>);

#[derive(Debug)]
struct Place {
    home: File,
    namespace: File,
    names: Names,
    witness: Arc<Witness>,
}

/// Who follows a run, for all of its hosts.
#[derive(Debug)]
pub(super) struct Witness {
    began: Mutex<Instant>,
    wrongs: Mutex<Vec<String>>,
}

impl Witness {
    /// Of a run that begins now.
    pub(super) fn new() -> Self {
        Self { began: Mutex::new(Instant::now()), wrongs: Mutex::default() }
    }

    /// The run begins only now.
    pub(super) fn begin(&self) {
        *self.began.lock().expect("nobody panics while holding this") = Instant::now();
    }

    /// Time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.lock().expect("nobody panics while holding this").elapsed()
    }

    /// What was seen that must not happen.
    pub(super) fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().expect("nobody panics while holding this").clone()
    }
}

impl RealNet {
    /// The network in the namespace that is mounted there.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn new(mounted: &Path, names: Names, witness: Arc<Witness>) -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let namespace = File::open(mounted)?;
        Ok(Self(Arc::new(Place { home, namespace, names, witness })))
    }

    /// Does something in the namespace.
    ///
    /// # Errors
    /// This process may not enter it.
    pub(super) fn inside<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        let enter = |namespace: &File| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        };
        enter(&self.0.namespace)?;
        let done = act();
        enter(&self.0.home)?;
        Ok(done)
    }

    /// Makes a socket in the namespace.
    async fn make<T>(&self, making: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut making = pin!(making);
        poll_fn(|cx| match self.inside(|| making.as_mut().poll(cx)) {
            Ok(polled) => polled,
            Err(error) => Err(error).into(),
        })
        .await
    }
}

fn in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

impl Ground for RealNet {
    fn elapsed(&self) -> Duration {
        self.0.witness.elapsed()
    }

    fn wrong(&self, what: String) {
        self.0.witness.wrongs.lock().expect("nobody panics while holding this").push(what);
    }

    fn over(&self, _outcome: String) {}
}

impl Net for RealNet {
    type Listener = <TokioNet as Net>::Listener;
    type Stream = <TokioNet as Net>::Stream;
    type Datagrams = <TokioNet as Net>::Datagrams;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        let began = Instant::now();
        loop {
            match self.make(TokioNet.bind(addr)).await {
                Err(error) if in_use(&error) && began.elapsed() < LINGERS => {
                    sleep(LINGERS / 1000).await;
                }
                bound => return bound,
            }
        }
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream> {
        self.make(TokioNet.connect(addr)).await
    }

    async fn bind_udp(&self, addr: SocketAddr) -> io::Result<Self::Datagrams> {
        self.make(TokioNet.bind_udp(addr)).await
    }

    async fn connect_udp(&self, addr: SocketAddr) -> io::Result<Self::Datagrams> {
        self.make(TokioNet.connect_udp(addr)).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let ips = self.0.names.of(host);
        match ips.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
            false => Ok(ips.into_iter().map(|ip| SocketAddr::from((ip, port))).collect()),
        }
    }

    fn local_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr> {
        TokioNet.local_addr(stream)
    }

    fn peer_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr> {
        TokioNet.peer_addr(stream)
    }

    async fn reset(&self, stream: &mut Self::Stream) {
        TokioNet.reset(stream).await;
    }

    fn abort(&self, stream: Self::Stream) {
        TokioNet.abort(stream);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        TokioNet.fill_random(bytes);
    }

    fn unix_time(&self) -> Duration {
        TokioNet.unix_time()
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        TokioNet.read_file(path)
    }
}
