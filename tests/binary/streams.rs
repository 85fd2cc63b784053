//! How streams end: each direction on its own, or both at once with an error.

use std::net::SocketAddr;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::payload::{Digester, Payload};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::{Mesh, NAME, Path, connecting, listening, unchanged};

/// More than all buffers on the way hold.
const LENGTH: usize = 8 * 1024 * 1024;

/// A request through `mesh`, and the backend's end of it, past the head.
async fn both_ends(mesh: &Mesh, listener: &tokio::net::TcpListener) -> (TcpStream, TcpStream) {
    let mut client = connect(mesh.addr()).await;
    client.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
    let backend = backend::accept(listener).await;
    assert_eq!(client::head(&mut client).await.status, 200);
    (client, backend)
}

async fn assert_ended(public: &Peer, success: f64, failed: f64) {
    let metrics = public.quiet().await;
    let http = [("client_name", NAME), ("protocol", "http")];
    assert_eq!(metrics.value("ops_proxy_requests_total", &http), success + failed);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &http), success);
    assert_eq!(metrics.value("ops_proxy_requests_failed_total", &http), failed);
    assert_eq!(metrics.value("ops_proxy_connections_failed_total", &[]), failed);
    let broken = [("client_name", NAME), ("reason", "data_io_error")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &broken), failed);
}

#[tokio::test]
async fn a_backend_that_answers_only_after_the_clients_end_is_heard() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let (mut client, mut backend) = both_ends(&mesh, &listener).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client::to_end(&mut backend).await.unwrap(), b"question");
        let answering = tokio::spawn(async move {
            Payload::new(1, LENGTH).send(&mut backend).await.unwrap();
        });
        let mut answer = Digester::default();
        within("the answer", answer.take(&mut client, LENGTH)).await.unwrap();
        answering.await.unwrap();
        assert_eq!(answer.hex(), Payload::new(1, LENGTH).sha256());
        assert_eq!(client::to_end(&mut client).await.unwrap(), b"");
        assert_ended(&mesh.public, 1.0, 0.0).await;
    }
}

#[tokio::test]
async fn a_client_may_go_on_after_the_backends_end() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let (mut client, mut backend) = both_ends(&mesh, &listener).await;
        backend.write_all(b"all I say").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(client::to_end(&mut client).await.unwrap(), b"all I say");
        let uploading = tokio::spawn(async move {
            Payload::new(2, LENGTH).send(&mut client).await.unwrap();
        });
        let mut upload = Digester::default();
        within("the upload", upload.take(&mut backend, LENGTH)).await.unwrap();
        uploading.await.unwrap();
        assert_eq!(upload.hex(), Payload::new(2, LENGTH).sha256());
        assert_eq!(client::to_end(&mut backend).await.unwrap(), b"");
        assert_ended(&mesh.public, 1.0, 0.0).await;
    }
}

#[tokio::test]
async fn a_reset_at_the_backend_is_an_error_for_the_client_and_no_clean_end() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let (mut client, mut backend) = both_ends(&mesh, &listener).await;
        backend.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf").await.unwrap();
        client::head(&mut client).await;
        backend::reset(backend);
        let end = client::to_end(&mut client).await;
        assert!(end.is_err(), "{path:?}: a cut stream ended cleanly: {end:?}");
        assert_ended(&mesh.public, 0.0, 1.0).await;
    }
}

#[tokio::test]
async fn a_reset_by_the_client_is_an_error_for_the_backend() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let (client, mut backend) = both_ends(&mesh, &listener).await;
        backend::reset(client);
        let end = client::to_end(&mut backend).await;
        assert!(end.is_err(), "{path:?}: a cut stream ended cleanly: {end:?}");
        assert_ended(&mesh.public, 0.0, 1.0).await;
    }
}

#[tokio::test]
async fn a_connecting_peer_that_is_killed_mid_stream_is_a_failed_request() {
    let (listener, addr) = backend::listener().await;
    let mut mesh = Mesh::serving(Path::Tunnelled, addr, "").await;
    let (mut client, mut backend) = both_ends(&mesh, &listener).await;
    // Unread bytes make the kernel reset what a dead process leaves behind; the
    // connections of an idle one are closed with FIN like any other.
    let uploading =
        tokio::spawn(async move { Payload::new(1, usize::MAX).send(&mut client).await });
    mesh.public
        .until("a full pipe", |metrics| {
            metrics.value("ops_proxy_connections_bytes_tx_total", &[]) > 1_000_000.0
        })
        .await;
    drop(mesh.behind.take());
    assert!(within("the upload's end", uploading).await.unwrap().is_err());
    while backend.read(&mut [0; 65536]).await.is_ok_and(|read| read > 0) {}
    assert_ended(&mesh.public, 0.0, 1.0).await;
}

/// A way between two peers that cuts everything into small pieces and takes them
/// one by one, into buffers as small as they get.
async fn sliced(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut piece = [0; 1400];
    for size in [1400, 1, 536, 7, 1200].into_iter().cycle() {
        let Ok(read @ 1..) = from.read(&mut piece[..size]).await else { break };
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // The end is passed on; whoever has gone does not mind.
    let _ = to.shutdown().await;
}

/// Where a peer dials so that all it says to `target` is sliced, both ways.
async fn slicing(target: SocketAddr) -> Backend {
    Backend::start(move |near| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let far = socket.connect(target).await.unwrap();
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
        }
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        tokio::join!(sliced(near_read, far_write), sliced(far_read, near_write));
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_a_sliced_and_throttled_way_arrive_unchanged() {
    let (listener, addr) = backend::listener().await;
    let public = listening("").await;
    let way = slicing(public.listen()).await;
    let (directory, service) = unchanged(NAME, addr);
    let behind = connecting(way.addr(), &service).await;
    public.serves(&[NAME]).await;
    let mesh = Mesh { public, behind: Some(behind), _directory: directory };
    let ends = [both_ends(&mesh, &listener).await, both_ends(&mesh, &listener).await];
    let mut transfers = JoinSet::new();
    for (seed, (client, backend)) in (1..).zip(ends) {
        let (client, backend) = (client.into_split(), backend.into_split());
        transfers.spawn(transfer(10 * seed, client.1, backend.0));
        transfers.spawn(transfer(10 * seed + 1, backend.1, client.0));
    }
    within("four transfers", transfers.join_all()).await;
    assert_ended(&mesh.public, 2.0, 0.0).await;
}

/// Sends a payload one way, and checks its sum and its clean end at the other.
async fn transfer(seed: u64, mut writer: OwnedWriteHalf, mut reader: OwnedReadHalf) {
    let sending = async {
        Payload::new(seed, LENGTH).send(&mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut digester = Digester::default();
    let receiving = async {
        digester.take(&mut reader, LENGTH).await.unwrap();
        assert_eq!(client::to_end(&mut reader).await.unwrap(), b"");
    };
    tokio::join!(sending, receiving);
    assert_eq!(digester.hex(), Payload::new(seed, LENGTH).sha256());
}
