//! The peer's network seam on turmoil.

use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use ops_proxy::stream::net::{Listener, Net};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::crypto::CryptoProvider;
use turmoil::net::{TcpListener, TcpStream};

use crate::fabric::{Fabric, HostState, way};
use crate::fate::Pair;
use crate::trace::{End, Fnv, What};

/// How long a host whose software is gone takes to refuse a dial: a way there
/// and back on a near network.
const REFUSED_AFTER: Duration = Duration::from_millis(10);

/// What a peer reads ahead of itself at most to see a reset behind it.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// The network as one host sees it.
#[derive(Debug, Clone)]
pub struct SimNet {
    fabric: Fabric,
    ip: IpAddr,
    random: Arc<Mutex<SmallRng>>,
}

impl SimNet {
    /// The network of the host at `ip`. Its randomness follows from `seed`, the
    /// host's name and how often it was started: nothing that others draw.
    pub fn new(fabric: Fabric, ip: IpAddr, seed: u64, name: &str, start: u64) -> Self {
        let mut hash = Fnv::default();
        (seed, name, start).hash(&mut hash);
        let random = SmallRng::seed_from_u64(hash.finish());
        Self { fabric, ip, random: Arc::new(Mutex::new(random)) }
    }

    /// A random number of this host.
    pub fn random(&self) -> u64 {
        self.random.lock().expect("a run is one thread").next_u64()
    }

    async fn dial(&self, addr: SocketAddr) -> io::Result<SimStream> {
        {
            let mut state = self.fabric.state();
            state.count_traffic(self.ip, addr.ip());
            *state.counters.dials.entry(addr.ip()).or_default() += 1;
        }
        loop {
            self.wait_for_way(addr.ip()).await?;
            let connecting: Connecting = Box::pin(TcpStream::connect(addr));
            let dialled = Dialling { connecting: Some(connecting), fabric: self.fabric.clone() };
            match dialled.await {
                Ok(stream) => return Ok(stream),
                // A SYN lost to a cut is sent again, by a kernel.
                Err(_) if self.fabric.state().is_cut(self.ip, addr.ip()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A cut way swallows the SYN; a host without software refuses it.
    async fn wait_for_way(&self, to: IpAddr) -> io::Result<()> {
        let mut counted = false;
        loop {
            let state = {
                let mut state = self.fabric.state();
                let cut = state.is_cut(self.ip, to);
                if cut && !std::mem::replace(&mut counted, true) {
                    *state.counters.blocked.entry(way(self.ip, to)).or_default() += 1;
                }
                let state = state.hosts.get(&to).map(|host| host.state);
                if cut { Some(HostState::Dark) } else { state }
            };
            match state {
                Some(HostState::Up) => return Ok(()),
                Some(HostState::Dark) => self.fabric.way_change().await,
                Some(HostState::Down) => {
                    tokio::time::sleep(REFUSED_AFTER).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                None => return Err(io::ErrorKind::HostUnreachable.into()),
            }
        }
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// A dial that may be abandoned: if it was accepted in the meantime, the stream
/// is closed, where turmoil would leave the other side with it for ever.
struct Dialling {
    connecting: Option<Connecting>,
    fabric: Fabric,
}

impl Dialling {
    fn poll_dialled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SimStream>> {
        let connecting = self.connecting.as_mut().expect("not polled again after it was ready");
        let result = ready!(connecting.as_mut().poll(cx));
        self.connecting = None;
        let inner = result?;
        let pair = Pair { dialler: inner.local_addr()?, acceptor: inner.peer_addr()? };
        Poll::Ready(Ok(SimStream::new(inner, &self.fabric, pair, End::Dialler)))
    }
}

impl Future for Dialling {
    type Output = io::Result<SimStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_dialled(cx)
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if self.connecting.is_some() && turmoil::in_simulation() {
            let _ = self.poll_dialled(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;

    async fn bind(&self, addr: SocketAddr) -> io::Result<SimListener> {
        let inner = TcpListener::bind(addr).await?;
        Ok(SimListener { inner, fabric: self.fabric.clone(), ip: self.ip })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
        let result = self.dial(addr).await;
        if let Err(error) = &result {
            let mut state = self.fabric.state();
            let (to, error) = (state.show(addr), error.kind().to_string());
            state.event(self.ip, What::DialFailed { to, error });
        }
        result
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let mut state = self.fabric.state();
        *state.counters.lookups.entry(host.to_owned()).or_default() += 1;
        match state.names.get(host) {
            Some(&ip) => Ok(vec![SocketAddr::new(ip, port)]),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        }
    }

    fn local_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(stream.pair.addr(stream.end))
    }

    fn peer_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(stream.pair.addr(stream.end.other()))
    }

    async fn reset(&self, stream: &mut SimStream) {
        poll_fn(|cx| stream.poll_reset(cx)).await;
    }

    fn abort(&self, stream: SimStream) {
        self.fabric.state().closed(stream.pair, stream.end, true);
    }

    fn unix_time(&self) -> Duration {
        turmoil::since_epoch().expect("peers run on hosts of the simulation")
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.fabric.state();
        let files = state.files.get_mut(&self.ip);
        files.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |files| files.read(path))
    }

    fn crypto_provider(&self) -> Arc<CryptoProvider> {
        crate::crypto::provider()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.random.lock().expect("a run is one thread").fill_bytes(bytes);
    }
}

/// A listening socket on the simulated network.
pub struct SimListener {
    inner: TcpListener,
    fabric: Fabric,
    ip: IpAddr,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<(SimStream, SocketAddr)> {
        let (inner, source) = self.inner.accept().await?;
        let pair = Pair { dialler: source, acceptor: inner.local_addr()? };
        self.fabric.state().accepted(pair);
        Ok((SimStream::new(inner, &self.fabric, pair, End::Acceptor), source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.ip, self.inner.local_addr()?.port()))
    }
}

/// One end of a connection on the simulated network.
#[derive(Debug)]
pub struct SimStream {
    /// Taken when this is dropped, and never before.
    inner: Option<TcpStream>,
    fabric: Fabric,
    pair: Pair,
    end: End,
    /// The end of the other's direction was seen.
    ended: bool,
    /// What was read ahead to see whether a reset comes behind it.
    ahead: Ahead,
}

/// What was read ahead of its reader. A kernel knows of a reset without that.
#[derive(Debug, Default)]
struct Ahead {
    bytes: BytesMut,
    /// Nothing more comes.
    ended: bool,
}

impl SimStream {
    fn new(inner: TcpStream, fabric: &Fabric, pair: Pair, end: End) -> Self {
        Self {
            inner: Some(inner),
            fabric: fabric.clone(),
            pair,
            end,
            ended: false,
            ahead: Ahead::default(),
        }
    }

    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.as_mut().expect("it is taken when this is dropped"))
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let mut state = self.fabric.state();
        if let Some(conn) = state.ledger.id(self.pair) {
            let error = error.kind().to_string();
            state.event(self.ip(), What::Failed { conn, end: self.end, error });
            state.saw_end(self.pair, self.end);
        }
        error
    }

    /// Ready once the other end has reset the connection.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ahead.ended && self.ahead.bytes.len() < READ_AHEAD_BYTES {
            let alive = self.fabric.state().ledger.check_read(self.pair, self.end, cx.waker());
            if alive.is_err() {
                return Poll::Ready(());
            }
            let mut storage = [0; 4096];
            let mut buffer = ReadBuf::new(&mut storage);
            match ready!(self.inner().poll_read(cx, &mut buffer)) {
                Err(_) => return Poll::Ready(()),
                Ok(()) if buffer.filled().is_empty() => {
                    if self.fabric.state().ledger.end_is_reset(self.pair, self.end) {
                        return Poll::Ready(());
                    }
                    self.ahead.ended = true;
                }
                Ok(()) => self.ahead.bytes.extend_from_slice(buffer.filled()),
            }
        }
        Poll::Pending
    }

    /// Takes what was read ahead; false when nothing was.
    fn take_ahead(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = self.ahead.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.bytes.split_to(count));
        count > 0 || self.ahead.ended
    }

    fn ip(&self) -> IpAddr {
        self.pair.addr(self.end).ip()
    }

    /// turmoil gives one segment a read, however many have come; a kernel gives
    /// all. Every other connection is read as by a kernel, the rest finely cut.
    fn gather(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, before: usize) {
        let mut filled = before;
        while buffer.filled().len() > filled
            && buffer.remaining() > 0
            && self.pair.dialler.port().is_multiple_of(2)
        {
            filled = buffer.filled().len();
            // An end or an error stays for the next read.
            let _ = self.inner().poll_read(cx, buffer);
        }
    }

    /// Takes note of a read; an end that is a reset becomes an error.
    fn was_read(&mut self, bytes: usize) -> io::Result<()> {
        let mut state = self.fabric.state();
        if bytes > 0 {
            state.ledger.read(self.pair, self.end, bytes);
        } else if state.ledger.end_is_reset(self.pair, self.end) && !self.ended {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(conn) = state.ledger.id(self.pair) else { return Ok(()) };
        let (ip, end) = (self.pair.addr(self.end).ip(), self.end);
        if bytes > 0 {
            state.forwards.read(conn, end, bytes);
            state.event(ip, What::Read { conn, end, bytes });
        } else if !std::mem::replace(&mut self.ended, true) {
            state.event(ip, What::SawEnd { conn, end });
            state.saw_end(self.pair, end);
        }
        Ok(())
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let alive = self.fabric.state().ledger.check_read(self.pair, self.end, cx.waker());
        alive.map_err(|error| self.failed(error))?;
        let before = buffer.filled().len();
        if !self.take_ahead(buffer) {
            ready!(self.inner().poll_read(cx, buffer)).map_err(|error| self.failed(error))?;
            self.gather(cx, buffer, before);
        }
        let bytes = buffer.filled().len() - before;
        Poll::Ready(self.was_read(bytes).map_err(|error| self.failed(error)))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.fabric.state().ledger.check_write(self.pair, self.end, cx.waker());
        let room = room.map_err(|error| self.failed(error))?;
        if room == 0 {
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(room)];
        if self.fabric.state().ledger.is_severed(self.pair) {
            self.fabric.state().wrote(self.pair, self.end, bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written =
            ready!(self.inner().poll_write(cx, bytes)).map_err(|error| self.failed(error))?;
        self.fabric.state().wrote(self.pair, self.end, &bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.inner().poll_shutdown(cx)) {
            // Shutting down twice is fine on real sockets.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Poll::Ready(Err(self.failed(error))),
            Ok(()) => {
                let mut state = self.fabric.state();
                if let Some(conn) = state.ledger.id(self.pair) {
                    state.event(self.ip(), What::Finished { conn, end: self.end });
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let mut state = self.fabric.state();
        if state.is_torn_down(self.ip()) {
            return state.bury(self.pair, self.end, inner);
        }
        state.closed(self.pair, self.end, false);
        drop(state);
        drop(inner);
    }
}
