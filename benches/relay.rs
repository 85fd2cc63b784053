//! How many bytes a second one relay carries.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ops_proxy::http::Conversation;
use ops_proxy::names::Name;
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy::stream::net::{Listener, Net};
use ops_proxy::stream::relay::{
    Ahead, Buffer, Leaving, Outstanding, Over, Side, Uncounted, converse, copy_both,
};
use ops_proxy_tests::pki::{Ca, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What one iteration carries, in bytes.
const LENGTH: usize = 16 * 1024 * 1024;

/// What a pipe in memory holds, in bytes: about a socket buffer.
const PIPE: usize = 256 * 1024;

/// How many requests one iteration carries.
const REQUESTS: u64 = 1000;

fn side<S>(stream: S) -> Side<S> {
    Side::raw(stream, Bytes::new())
}

/// Sends all bytes from the client to the backend while `relay` runs.
async fn upload<C, B, R>(mut client: C, mut backend: B, relay: R)
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    R: Future<Output = ()>,
{
    let send = async {
        let chunk = [0x5a; 64 * 1024];
        for _ in 0..LENGTH / chunk.len() {
            client.write_all(&chunk).await.unwrap();
        }
        client.shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let take = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut taken = 0;
        loop {
            match backend.read(&mut buffer).await.unwrap() {
                0 => break,
                read => taken += read,
            }
        }
        assert_eq!(taken, LENGTH);
        backend.shutdown().await.unwrap();
    };
    tokio::join!(biased; relay, send, take);
}

async fn in_memory() {
    let (client, public) = duplex(PIPE);
    let (inner, backend) = duplex(PIPE);
    let relay = async {
        copy_both(&mut side(public), &mut side(inner), &Uncounted).await.unwrap();
    };
    upload(client, backend, relay).await;
}

/// Two ends of one connection of this machine.
async fn connection() -> (<TokioNet as Net>::Stream, <TokioNet as Net>::Stream) {
    let listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = Listener::local_addr(&listener).unwrap();
    let near = TokioNet.connect(addr).await.unwrap();
    let (far, _) = Listener::accept(&listener).await.unwrap();
    (near, far)
}

/// As the network does it best: spliced, where it can.
async fn over_loopback() {
    let (client, public) = connection().await;
    let (inner, backend) = connection().await;
    let relay = async {
        let (mut public, mut inner) = (public, inner);
        TokioNet.relay(&mut side(&mut public), &mut side(&mut inner), &Uncounted).await.unwrap();
    };
    upload(client, backend, relay).await;
}

async fn copied_over_loopback() {
    let (client, public) = connection().await;
    let (inner, backend) = connection().await;
    let relay = async {
        copy_both(&mut side(public), &mut side(inner), &Uncounted).await.unwrap();
    };
    upload(client, backend, relay).await;
}

/// From clear text into TLS, as between the public and another peer.
async fn into_tls(ends: &TlsEnds) {
    let (client, public) = connection().await;
    let (inner, backend) = connection().await;
    let dialled = ends.connector.connect("localhost".try_into().unwrap(), inner);
    let (inner, backend) = tokio::join!(biased; dialled, ends.acceptor.accept(backend));
    let relay = async {
        copy_both(&mut side(public), &mut side(inner.unwrap()), &Uncounted).await.unwrap();
    };
    upload(client, backend.unwrap(), relay).await;
}

/// How the two ends of a session are made.
struct TlsEnds {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl TlsEnds {
    fn new() -> Self {
        let ca = Ca::new("bench");
        let files = ca.issue("hub", Request::nobody(&["localhost"]));
        let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let mut client = ca.client(None).as_ref().clone();
        client.alpn_protocols.clear();
        Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server.unwrap())),
        }
    }
}

fn relay(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("relay");
    group.sample_size(10).throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function("in memory", |b| b.to_async(&runtime).iter(in_memory));
    group.bench_function("over loopback", |b| b.to_async(&runtime).iter(over_loopback));
    group.bench_function("copied over loopback", |b| {
        b.to_async(&runtime).iter(copied_over_loopback);
    });
    let ends = TlsEnds::new();
    group.bench_function("into TLS", |b| b.to_async(&runtime).iter(|| into_tls(&ends)));
    group.finish();
}

/// Requests and answers, one after the other, over one connection.
async fn requests<R>(
    client: impl AsyncRead + AsyncWrite,
    backend: impl AsyncRead + AsyncWrite,
    relay: R,
) where
    R: Future<Output = ()>,
{
    let request = b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    let (mut client, mut backend) = (pin!(client), pin!(backend));
    let ask = async {
        let mut buffer = [0; 1024];
        for _ in 0..REQUESTS {
            client.write_all(request).await.unwrap();
            client.read_exact(&mut buffer[..answer.len()]).await.unwrap();
        }
        client.shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let serve = async {
        let mut buffer = [0; 1024];
        for _ in 0..REQUESTS {
            backend.read_exact(&mut buffer[..request.len()]).await.unwrap();
            backend.write_all(answer).await.unwrap();
        }
        backend.read_to_end(&mut Vec::new()).await.unwrap();
        backend.shutdown().await.unwrap();
    };
    tokio::join!(biased; relay, ask, serve);
}

async fn blind_requests() {
    let (client, public) = duplex(PIPE);
    let (inner, backend) = duplex(PIPE);
    let relay = async {
        copy_both(&mut side(public), &mut side(inner), &Uncounted).await.unwrap();
    };
    requests(client, backend, relay).await;
}

async fn read_requests() {
    let (client, public) = duplex(PIPE);
    let (inner, backend) = duplex(PIPE);
    let relay = async {
        let name = Name::requested("app.example").unwrap();
        let mut conversation = Conversation::new(name, Instant::now());
        let stays = AtomicBool::new(false);
        let leaving = Leaving { soon: &stays, peer: &stays, provider: &stays };
        let (mut public, mut inner) = (side(public), side(inner));
        let over = converse::<Buffer, _, _, _>(
            &mut public,
            &mut inner,
            Ahead::default(),
            &mut conversation,
            &Uncounted,
            leaving,
            None::<fn(&DuplexStream, &DuplexStream) -> Outstanding>,
        );
        assert_eq!(over.await.unwrap(), Over::Closed);
    };
    requests(client, backend, relay).await;
}

fn exchanges(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("requests");
    group.throughput(Throughput::Elements(REQUESTS));
    group.bench_function("blind", |b| b.to_async(&runtime).iter(blind_requests));
    group.bench_function("read", |b| b.to_async(&runtime).iter(read_requests));
    group.finish();
}

criterion_group!(benches, relay, exchanges);
criterion_main!(benches);
