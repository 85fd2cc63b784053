//! The whole tunnel in this process: what a client of a service behind two peers
//! waits for. `tunnel/` measures the same from outside, beside other proxies.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what is measured are real sockets, in real time"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ops_proxy::config::{PeerConfig, Service};
use ops_proxy::offer::Ways;
use ops_proxy::peer::{Peer, RunError};
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Answers a small request.
const WEB: &str = "web.bench";
/// Sends everything back.
const ECHO: &str = "echo.bench";
/// Answers a request with [`BULK`] bytes.
const FILE: &str = "file.bench";

/// What one iteration of bulk carries, in bytes, the head of the answer among them.
const BULK: usize = 16 * 1024 * 1024;

/// The answer lasts until its connection is closed.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Two peers, and the backends behind them.
struct Tunnel {
    public: SocketAddr,
    _backends: [Backend; 3],
    _peers: JoinSet<Result<(), RunError>>,
}

impl Tunnel {
    async fn start() -> Self {
        let file = Backend::start(|mut stream| async move {
            // What is not read would be a reset, at the end.
            client::raw_head(&mut stream).await;
            // A client that has left is no fault of the backend.
            let body = vec![0x5a; BULK - HEAD.len()];
            let _ = stream.write_all(&[HEAD, &body].concat()).await;
        });
        let backends = [Backend::http().await, Backend::echo().await, file.await];
        let mut peers = JoinSet::new();
        let mut hub = PeerConfig::new("hub".parse().unwrap());
        hub.listen = Some("127.0.0.1:0".parse().unwrap());
        let hub = Peer::start(hub, TokioNet).await.unwrap();
        let public = hub.handle().listen_addr().unwrap();
        let handle = hub.handle();
        peers.spawn(hub.run());

        let mut site = PeerConfig::new("site".parse().unwrap());
        site.connect.push(public.to_string().parse().unwrap());
        for (name, backend) in [WEB, ECHO, FILE].into_iter().zip(&backends) {
            let mut service: Service = backend.addr().to_string().parse().unwrap();
            service.terms.ways = Ways::ALL;
            site.services.insert(name.parse().unwrap(), service);
        }
        peers.spawn(Peer::start(site, TokioNet).await.unwrap().run());
        until("the names", async || (handle.snapshot().names.len() == 3).then_some(())).await;
        Self { public, _backends: backends, _peers: peers }
    }

    /// One request on a connection of its own.
    async fn new_connection(&self) {
        assert_eq!(client::get(self.public, "/", WEB).await.status, 200);
    }

    /// From dialling to the first byte of the answer.
    async fn first_byte(&self) -> Duration {
        let begun = Instant::now();
        let mut stream = connect(self.public).await;
        stream.write_all(client::get_request("/", WEB).as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
        let waited = begun.elapsed();
        client::to_end(&mut stream).await.unwrap();
        waited
    }

    async fn bulk(&self) {
        let mut stream = connect(self.public).await;
        stream.write_all(client::get_request("/", FILE).as_bytes()).await.unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut left = BULK;
        while left > 0 {
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "cut with {left} bytes to come");
            left -= read;
        }
    }
}

/// One small request on a connection that stays.
async fn keep_alive(stream: &mut TcpStream) {
    let request = format!("GET / HTTP/1.1\r\nHost: {WEB}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(stream).await.status, 200);
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn tunnel(c: &mut Criterion) {
    let runtime = runtime();
    let tunnel = runtime.block_on(Tunnel::start());
    let mut group = c.benchmark_group("tunnel");
    group.sample_size(10);
    group.bench_function("a new connection", |b| {
        b.to_async(&runtime).iter(|| tunnel.new_connection());
    });
    group.bench_function("the first byte of a new connection", |b| {
        b.to_async(&runtime).iter_custom(async |times| {
            let mut waited = Duration::ZERO;
            for _ in 0..times {
                waited += tunnel.first_byte().await;
            }
            waited
        });
    });
    group.bench_function("a request on a connection that stays", |b| {
        let mut stream = runtime.block_on(connect(tunnel.public));
        b.iter(|| runtime.block_on(keep_alive(&mut stream)));
    });
    group.bench_function("there and back on an open stream", |b| {
        let mut stream = runtime.block_on(client::stream_to(tunnel.public, ECHO));
        b.iter(|| runtime.block_on(client::assert_carries(&mut stream)));
    });
    group.throughput(Throughput::Bytes(BULK as u64));
    group.bench_function("bulk", |b| b.to_async(&runtime).iter(|| tunnel.bulk()));
    group.finish();
}

criterion_group!(benches, tunnel);
criterion_main!(benches);
