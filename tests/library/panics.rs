//! A panic in one task ends what that task served, and nothing else.
//!
//! The peer runs on the real network but for one thing: reading [`TRAP`] from a
//! connection panics, as a bug in whatever handles it would.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ops_proxy::config::PeerConfig;
use ops_proxy::peer::{Peer, PeerHandle};
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy::stream::net::{Listener, Net};
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, assert_carries, connect, stream_to};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const TRAP: &[u8] = b"TRAP";

/// [`TokioNet`] with a trap in every connection.
#[derive(Debug, Clone)]
struct Trapped;

#[derive(Debug)]
struct TrappedStream(TcpStream);

#[derive(Debug)]
struct TrappedListener(TcpListener);

impl Net for Trapped {
    type Listener = TrappedListener;
    type Stream = TrappedStream;

    async fn bind(&self, addr: SocketAddr) -> io::Result<TrappedListener> {
        TokioNet.bind(addr).await.map(TrappedListener)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TrappedStream> {
        TokioNet.connect(addr).await.map(TrappedStream)
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
        TokioNet.read_file(path)
    }
}

impl Listener for TrappedListener {
    type Stream = TrappedStream;

    async fn accept(&self) -> io::Result<(TrappedStream, SocketAddr)> {
        let (stream, source) = Listener::accept(&self.0).await?;
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
    task: JoinHandle<()>,
}

impl Running {
    async fn start(id: &str, configure: impl FnOnce(&mut PeerConfig)) -> Self {
        let mut config = PeerConfig::new(id.parse().unwrap());
        configure(&mut config);
        config.check().unwrap();
        let peer = Peer::start(config, Trapped).await.unwrap();
        Self { handle: peer.handle(), task: tokio::spawn(peer.run()) }
    }

    /// Serves `local.example` with `backend`, and lets peers come.
    async fn listening(backend: SocketAddr) -> Self {
        Self::start("edge", |config| {
            config.listen = Some("127.0.0.1:0".parse().unwrap());
            let name = "local.example".parse().unwrap();
            config.services.insert(name, backend.to_string().parse().unwrap());
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
    link.send("OK:0\nOK:1").await;
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
    link.send(&format!("FORWARD:{ID}:app.example:192.0.2.7:5555")).await;
    let mut data = Link::on(backend::accept(&listener).await);
    assert_eq!(data.line().await, format!("DATA:{ID}"));
    spring(data.into_stream()).await;
    let metrics = site.panicked(1.0).await;
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &[]), 1.0);
    assert_eq!(active_forwards(&metrics), 0.0);

    link.send(&format!("FORWARD:{}:app.example:192.0.2.7:5555", ID.replace('0', "1"))).await;
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
