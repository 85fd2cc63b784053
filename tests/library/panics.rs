//! A panic in one task ends what that task served, and nothing else. What the peer
//! cannot do without begins anew, and a panic that leaves half changed what all tasks
//! need ends the peer.
//!
//! The peer runs on the real network but for its traps: reading [`TRAP`] or [`BELL`]
//! from a connection panics, as a bug in whatever handles it would, and so does
//! accepting, reading a file and making something of it when the test says so.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ops_proxy::config::{PeerConfig, Service};
use ops_proxy::lock::Poisoned;
use ops_proxy::offer::Ways;
use ops_proxy::peer::{Peer, PeerHandle, RunError};
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy::stream::net::{Listener, Net};
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, assert_carries, connect, stream_to};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::crypto::CryptoProvider;

const TRAP: &[u8] = b"TRAP";

/// A trap for those who read a byte at a time.
const BELL: u8 = 7;

/// [`TokioNet`] with traps.
#[derive(Debug, Clone, Default)]
struct Trapped(Arc<Traps>);

/// How often it is yet to panic.
#[derive(Debug, Default)]
struct Traps {
    accepts: AtomicU32,
    files: AtomicU32,
    crypto: AtomicU32,
}

/// Panics if it is to.
fn step(trap: &AtomicU32) {
    let left = trap.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    assert!(left.is_err(), "a trap was stepped on");
}

#[derive(Debug)]
struct TrappedStream(<TokioNet as Net>::Stream);

#[derive(Debug)]
struct TrappedListener(<TokioNet as Net>::Listener, Trapped);

impl Net for Trapped {
    type Listener = TrappedListener;
    type Stream = TrappedStream;
    type Datagrams = <TokioNet as Net>::Datagrams;

    async fn bind(&self, addr: SocketAddr) -> io::Result<TrappedListener> {
        TokioNet.bind(addr).await.map(|listener| TrappedListener(listener, self.clone()))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TrappedStream> {
        TokioNet.connect(addr).await.map(TrappedStream)
    }

    async fn bind_udp(&self, addr: SocketAddr) -> io::Result<Self::Datagrams> {
        TokioNet.bind_udp(addr).await
    }

    async fn connect_udp(&self, addr: SocketAddr) -> io::Result<Self::Datagrams> {
        TokioNet.connect_udp(addr).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }

    fn local_addr(&self, stream: &TrappedStream) -> io::Result<SocketAddr> {
        TokioNet.local_addr(&stream.0)
    }

    fn peer_addr(&self, stream: &TrappedStream) -> io::Result<SocketAddr> {
        TokioNet.peer_addr(&stream.0)
    }

    async fn reset(&self, stream: &mut TrappedStream) {
        TokioNet.reset(&mut stream.0).await;
    }

    fn abort(&self, stream: TrappedStream) {
        TokioNet.abort(stream.0);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        TokioNet.fill_random(bytes);
    }

    fn unix_time(&self) -> Duration {
        TokioNet.unix_time()
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        step(&self.0.files);
        TokioNet.read_file(path)
    }

    fn crypto_provider(&self) -> Arc<CryptoProvider> {
        step(&self.0.crypto);
        TokioNet.crypto_provider()
    }
}

impl Listener for TrappedListener {
    type Stream = TrappedStream;

    async fn accept(&self) -> io::Result<(TrappedStream, SocketAddr)> {
        let (stream, source) = Listener::accept(&self.0).await?;
        step(&self.1.0.accepts);
        Ok((TrappedStream(stream), source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.0)
    }
}

impl AsyncRead for TrappedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        assert!(!read.windows(TRAP.len()).any(|bytes| bytes == TRAP), "the trap was read");
        assert!(!read.contains(&BELL), "the bell was read");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrappedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A peer with traps, which ends with the test.
struct Running {
    handle: PeerHandle<Trapped>,
    traps: Arc<Traps>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(id: &str, configure: impl FnOnce(&mut PeerConfig)) -> Self {
        let mut config = PeerConfig::new(id.parse().unwrap());
        configure(&mut config);
        config.check().unwrap();
        let net = Trapped::default();
        let peer = Peer::start(config, net.clone()).await.unwrap();
        Self { handle: peer.handle(), traps: net.0, task: tokio::spawn(peer.run()) }
    }

    /// Serves `local.example` with `backend`, and lets peers come.
    async fn listening(backend: SocketAddr) -> Self {
        Self::start("edge", |config| {
            config.listen = Some("127.0.0.1:0".parse().unwrap());
            config.admin = config.listen;
            let name = "local.example".parse().unwrap();
            let mut service: Service = backend.to_string().parse().unwrap();
            service.terms.ways = Ways::ALL;
            config.services.insert(name, service);
        })
        .await
    }

    fn addr(&self) -> SocketAddr {
        self.handle.listen_addr().unwrap()
    }

    fn metrics(&self) -> Metrics {
        Metrics::parse(&self.handle.metrics_text()).unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, async || Some(self.metrics()).filter(&holds)).await
    }

    /// Waits for as many panics, and for what they cut short to be cleared away.
    async fn panicked(&self, times: f64) -> Metrics {
        self.until(&format!("{times} panics and nothing left of them"), |metrics| {
            metrics.value("ops_proxy_panics_total", &[]) == times
                && metrics.value("ops_proxy_pending_data_connections", &[]) == 0.0
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Springs the trap on `stream`, and waits until it is closed.
async fn spring(mut stream: TcpStream) {
    stream.write_all(TRAP).await.unwrap();
    closed(stream).await;
}

async fn closed(mut stream: TcpStream) {
    let end = client::to_end(&mut stream).await;
    assert!(end.is_err() || end.is_ok_and(|bytes| bytes.is_empty()), "closed without an answer");
}

fn of_name(metrics: &Metrics, family: &str, name: &str) -> f64 {
    metrics.value(family, &[("client_name", name)])
}

#[tokio::test]
async fn a_panic_before_a_request_is_routed_closes_that_connection_only() {
    let echo = Backend::echo().await;
    let edge = Running::listening(echo.addr()).await;
    let mut other = stream_to(edge.addr(), "local.example").await;
    spring(connect(edge.addr()).await).await;
    let metrics = edge.panicked(1.0).await;
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 1.0);
    assert_carries(&mut other).await;
    stream_to(edge.addr(), "local.example").await;
}

#[tokio::test]
async fn a_panic_in_a_running_request_fails_that_request_only() {
    let echo = Backend::echo().await;
    let edge = Running::listening(echo.addr()).await;
    let mut other = stream_to(edge.addr(), "local.example").await;
    spring(stream_to(edge.addr(), "local.example").await).await;
    let metrics = edge.panicked(1.0).await;
    let count = |family| of_name(&metrics, family, "local.example");
    assert_eq!(count("ops_proxy_requests_total"), 2.0);
    assert_eq!(count("ops_proxy_requests_failed_total"), 1.0);
    assert_eq!(count("ops_proxy_proxy_errors_total"), 1.0);
    assert_eq!(count("ops_proxy_connections_active"), 1.0);
    assert_carries(&mut other).await;
    drop(other);
    edge.until("no request", |metrics| {
        of_name(metrics, "ops_proxy_connections_active", "local.example") == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_panic_on_a_link_takes_down_its_names_only_and_its_peer_may_return() {
    let echo = Backend::echo().await;
    let edge = Running::listening(echo.addr()).await;
    let mut other = Link::register(edge.addr(), "other", &["other.example"]).await;
    let link = Link::register(edge.addr(), "by-hand", &["app.example"]).await;
    spring(link.into_stream()).await;
    let metrics = edge.panicked(1.0).await;
    assert_eq!(of_name(&metrics, "ops_proxy_client_up", "app.example"), 0.0);
    assert_eq!(of_name(&metrics, "ops_proxy_client_disconnects_total", "app.example"), 1.0);
    assert_eq!(of_name(&metrics, "ops_proxy_client_up", "other.example"), 1.0);
    assert_eq!(metrics.value("ops_proxy_links", &[]), 1.0);

    other.send("REGISTER:other.example").await;
    assert_eq!(other.line().await, "OK:1");
    Link::register(edge.addr(), "by-hand", &["app.example"]).await;
    edge.until("the name to be up again", |metrics| {
        of_name(metrics, "ops_proxy_client_up", "app.example") == 1.0
    })
    .await;
}

/// A connecting peer with traps, and its link as the listening peer sees it.
async fn connecting(backend: SocketAddr) -> (Running, TcpListener, Link) {
    let (listener, addr) = backend::listener().await;
    let site = Running::start("site", |config| {
        config.connect.push(addr.to_string().parse().unwrap());
        config.idle_data = 0;
        let name = "app.example".parse().unwrap();
        config.services.insert(name, backend.to_string().parse().unwrap());
    })
    .await;
    let link = answered(&listener).await;
    (site, listener, link)
}

/// The next link of the connecting peer, with its first lines answered.
async fn answered(listener: &TcpListener) -> Link {
    let mut link = Link::on(backend::accept(listener).await);
    assert_eq!(link.line().await, "HELLO:1:site");
    assert_eq!(link.line().await, "REGISTER:app.example");
    link.send("OK:0:hub\nOK:1").await;
    link
}

fn active_forwards(metrics: &Metrics) -> f64 {
    metrics.value("ops_proxy_client_active_forwards", &[])
}

#[tokio::test]
async fn a_panic_while_serving_a_forward_ends_that_forward_only() {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    let echo = Backend::echo().await;
    let (site, listener, mut link) = connecting(echo.addr()).await;
    link.send(&format!("FORWARD:{ID}:app.example:http:192.0.2.7:5555")).await;
    let mut data = Link::on(backend::accept(&listener).await);
    assert_eq!(data.line().await, format!("DATA:{ID}"));
    spring(data.into_stream()).await;
    let metrics = site.panicked(1.0).await;
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &[]), 1.0);
    assert_eq!(active_forwards(&metrics), 0.0);

    link.send(&format!("FORWARD:{}:app.example:http:192.0.2.7:5555", ID.replace('0', "1"))).await;
    let mut data = Link::on(backend::accept(&listener).await);
    data.line().await;
    assert_carries(&mut data.into_stream()).await;
}

#[tokio::test]
async fn a_panic_on_the_connecting_side_of_a_link_is_followed_by_a_new_link() {
    let echo = Backend::echo().await;
    let (site, listener, link) = connecting(echo.addr()).await;
    spring(link.into_stream()).await;
    let _again = answered(&listener).await;
    site.panicked(1.0).await;
    site.until("the new link to be up", |metrics| {
        metrics.value("ops_proxy_client_link_up", &[]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn an_accept_loop_that_panics_restarts_on_the_same_socket() {
    let echo = Backend::echo().await;
    let edge = Running::listening(echo.addr()).await;
    let mut other = stream_to(edge.addr(), "local.example").await;
    // Again right after it began anew.
    for times in [1.0, 2.0] {
        edge.traps.accepts.store(1, SeqCst);
        closed(connect(edge.addr()).await).await;
        edge.panicked(times).await;
    }
    // Whoever comes meanwhile waits, and is refused by nobody.
    stream_to(edge.addr(), "local.example").await;
    assert_carries(&mut other).await;
}

#[tokio::test]
async fn an_admin_server_that_panics_restarts_on_the_same_socket() {
    let echo = Backend::echo().await;
    let edge = Running::listening(echo.addr()).await;
    let admin = edge.handle.admin_addr().unwrap();
    assert_eq!(client::get(admin, "/healthz", "admin").await.status, 200);
    edge.traps.accepts.store(1, SeqCst);
    closed(connect(admin).await).await;
    edge.panicked(1.0).await;
    let answer = client::get(admin, "/metrics", "admin").await;
    let metrics = Metrics::parse(&answer.text()).unwrap();
    assert_eq!(metrics.value("ops_proxy_panics_total", &[]), 1.0);
}

#[tokio::test]
async fn a_look_at_the_tls_files_that_panics_is_followed_by_others() {
    let ca = Ca::new("ca");
    let issue = || ca.issue("edge", Request::peer("edge", &["127.0.0.1"]));
    let files = issue();
    let edge = Running::start("edge", |config| {
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.tls.cert = Some(files.cert);
        config.tls.key = Some(files.key);
        config.tls.ca = Some(ca.path("ca.pem"));
    })
    .await;
    edge.traps.files.store(1, SeqCst);
    edge.handle.reload();
    edge.panicked(1.0).await;
    // Not under a lock that all handshakes need.
    issue();
    edge.traps.crypto.store(1, SeqCst);
    edge.handle.reload();
    edge.panicked(2.0).await;
    issue();
    edge.handle.reload();
    edge.until("the files to be loaded anew", |metrics| {
        metrics.value("ops_proxy_tls_reloads_total", &[]) == 1.0
    })
    .await;
}

/// The mesh looks at the idle DATA connections of a link while it holds its lock.
#[tokio::test]
async fn a_panic_under_the_lock_of_the_mesh_ends_the_peer_with_an_error() {
    let echo = Backend::echo().await;
    let mut edge = Running::listening(echo.addr()).await;
    let mut link = Link::register(edge.addr(), "by-hand", &["app.example"]).await;
    let mut idle = connect(edge.addr()).await;
    idle.write_all(b"DATA:idle:by-hand\n").await.unwrap();
    edge.until("the idle connection", |metrics| {
        metrics.value("ops_proxy_idle_data_connections", &[]) == 1.0
    })
    .await;
    idle.write_all(&[BELL]).await.unwrap();
    let addr = edge.addr();
    until("the peer to end", async || {
        // A heartbeat, at which the mesh looks; then whoever asks finds out.
        link.try_send("REGISTER:app.example").await;
        if let Ok(mut client) = TcpStream::connect(addr).await {
            let request = client::get_request("/", "local.example");
            let _ = client.write_all(request.as_bytes()).await;
        }
        edge.task.is_finished().then_some(())
    })
    .await;
    let ended = (&mut edge.task).await.unwrap();
    assert_eq!(ended, Err(RunError::Poisoned(Poisoned("the tables of the mesh"))));
}
