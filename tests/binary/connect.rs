//! HTTP CONNECT: a way to registered names, never an open proxy.

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::{self, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Mesh, NAME, Path, listening};

#[tokio::test]
async fn after_200_the_connection_is_the_backends() {
    for path in Path::ALL {
        let echo = Backend::echo().await;
        let mesh = Mesh::serving(path, echo.addr(), "").await;
        let mut stream = connect(mesh.addr()).await;
        // What follows the head at once is payload and must not be lost.
        let request = format!("CONNECT {NAME}:5432 HTTP/1.1\r\nHost: {NAME}:5432\r\n\r\nearly ");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(client::head(&mut stream).await.status, 200);
        stream.write_all(b"and late").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(client::to_end(&mut stream).await.unwrap(), b"early and late");
        let metrics = mesh.public.quiet().await;
        let http = [("client_name", NAME), ("protocol", "http")];
        assert_eq!(metrics.value("ops_proxy_requests_success_total", &http), 1.0);
        let bytes = |which| metrics.value(which, &[("client_name", NAME)]);
        assert_eq!(bytes("ops_proxy_connections_bytes_tx_total"), 14.0);
        assert_eq!(bytes("ops_proxy_connections_bytes_rx_total"), 14.0);
    }
}

#[tokio::test]
async fn the_200_waits_for_the_backend() {
    let public = listening("").await;
    let mut peer =
        Link::register(public.listen(), "by-hand", &[&format!("{NAME};ways=connect")]).await;
    let mut stream = connect(public.listen()).await;
    stream.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
    let forward = peer.forward().await;
    // The request is pending, and nothing was promised.
    public
        .until("a pending id", |m| m.value("ops_proxy_pending_data_connections", &[]) == 1.0)
        .await;
    let mut byte = [0];
    assert_eq!(
        stream.try_read(&mut byte).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "an answer before there is a backend"
    );
    let mut data = link::data(connect(public.listen()).await, &forward.proxy_id).await;
    assert_eq!(client::head(&mut stream).await.status, 200);
    data.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
}

#[tokio::test]
async fn a_name_that_is_not_registered_is_404_and_nothing_is_dialled() {
    let (listener, addr) = backend::listener().await;
    let public = listening("").await;
    let request = format!("CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    assert_eq!(client::exchange(public.listen(), request.as_bytes()).await.status, 404);
    // Nothing waits to be accepted: a connection of our own is the first.
    let own = connect(addr).await;
    let (_accepted, source) = listener.accept().await.unwrap();
    assert_eq!(source, own.local_addr().unwrap());
    let unknown = [("client_name", "_other"), ("reason", "no_client")];
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unknown), 1.0);
}

#[tokio::test]
async fn a_malformed_target_is_400() {
    let echo = Backend::echo().await;
    let mesh = Mesh::serving(Path::Local, echo.addr(), "").await;
    for target in
        [NAME, "app.example:", "app.example:x", "app.example:70000", "http://app.example/", "/"]
    {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        let answer = client::exchange(mesh.addr(), request.as_bytes()).await;
        assert_eq!(answer.status, 400, "CONNECT {target}");
    }
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_head")]), 6.0);
    assert_eq!(echo.accepted(), 0);
}
