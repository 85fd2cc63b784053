//! What an HTTP client is told when its request cannot be served.

use std::net::SocketAddr;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, Answer, connect};
use ops_proxy_tests::link::Link;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::{Mesh, NAME, Path, connecting, listening};

/// Every refusal is one whole answer, and the connection ends cleanly after it.
fn assert_refusal(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.field("connection"), "close");
    assert_eq!(answer.field("content-length"), answer.body.len().to_string());
}

async fn get(to: SocketAddr) -> Answer {
    client::get(to, "/", NAME).await
}

#[tokio::test]
async fn an_unknown_name_is_404_and_makes_no_series() {
    let public = listening("").await;
    for n in 0..20 {
        let host = format!("nobody-{n}.example");
        assert_refusal(&client::get(public.listen(), "/", &host).await, 404);
    }
    let metrics = public.quiet().await;
    let unknown = [("client_name", "_other"), ("reason", "no_client")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unknown), 20.0);
    assert_eq!(metrics.label_values("ops_proxy_proxy_errors_total", "client_name").len(), 1);
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0);
}

#[tokio::test]
async fn a_known_name_without_provider_is_503_and_says_when_to_return() {
    let public = listening("").await;
    drop(Link::register(public.listen(), "by-hand", &[NAME]).await);
    public.serves(&[]).await;
    let answer = get(public.listen()).await;
    assert_refusal(&answer, 503);
    assert!(answer.field("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let metrics = public.quiet().await;
    let none = [("client_name", NAME), ("reason", "no_client")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &none), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0);
}

#[tokio::test]
async fn a_backend_that_refuses_is_502() {
    for path in Path::ALL {
        let (_socket, addr) = backend::refusing();
        let mesh = Mesh::serving(path, addr, "").await;
        assert_refusal(&get(mesh.addr()).await, 502);
        let metrics = mesh.public.quiet().await;
        let refused = [("client_name", NAME), ("reason", "backend_unreachable")];
        assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &refused), 1.0, "{path:?}");
        assert_eq!(metrics.value("ops_proxy_requests_failed_total", &[]), 1.0);
        assert_eq!(metrics.value("ops_proxy_data_connections_timeout_total", &[]), 0.0);
    }
}

/// Its queue is full, so that a dial gets no answer at all.
#[tokio::test]
async fn a_backend_that_never_accepts_is_502() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let _queued = [connect(addr).await, connect(addr).await];
    let mesh = Mesh::serving(Path::Tunnelled, addr, "--data-timeout 1h").await;
    assert_refusal(&get(mesh.addr()).await, 502);
    let metrics = mesh.public.quiet().await;
    let failed = [("client_name", NAME), ("reason", "backend_timeout")];
    assert_eq!(metrics.value("ops_proxy_forwards_failed_total", &failed), 1.0);
    let unreachable = [("client_name", NAME), ("reason", "backend_unreachable")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unreachable), 1.0);
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let public = listening("").await;
    let mut stream = connect(public.listen()).await;
    stream
        .write_all(b"HEAD / HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = String::from_utf8(client::to_end(&mut stream).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"), "{answer:?}");
}

#[tokio::test]
async fn the_connecting_side_counts_what_it_could_not_forward() {
    let (_socket, addr) = backend::refusing();
    let public = listening("").await;
    let behind = connecting(public.listen(), &format!("--service {NAME}={addr}")).await;
    public.serves(&[NAME]).await;
    assert_refusal(&get(public.listen()).await, 502);
    // The client hears of it a moment before the count.
    let failed = [("reason", "backend_refused")];
    let count = "ops_proxy_client_forwards_failed_total";
    let metrics = behind.until("the count", |metrics| metrics.value(count, &failed) == 1.0).await;
    assert_eq!(metrics.value("ops_proxy_client_forwards_total", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_client_active_forwards", &[]), 0.0);
}

#[tokio::test]
async fn data_that_never_comes_is_504() {
    let public = listening("--data-timeout 50ms").await;
    let _peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    assert_refusal(&get(public.listen()).await, 504);
    let metrics = public.quiet().await;
    let timeout = [("client_name", NAME), ("reason", "data_timeout")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &timeout), 1.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_timeout_total", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_failed_total", &[]), 1.0);
}

#[tokio::test]
async fn a_link_that_dies_while_pending_is_502_at_once() {
    let public = listening("--data-timeout 1h").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    let answer = tokio::spawn(get(public.listen()));
    peer.forward().await;
    drop(peer);
    assert_refusal(&answer.await.unwrap(), 502);
    let metrics = public.quiet().await;
    let lost = [("client_name", NAME), ("reason", "link_lost")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &lost), 1.0);
}

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let public = listening("").await;
    let request =
        format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Long: {}\r\n\r\n", "a".repeat(17_000));
    assert_refusal(&client::exchange(public.listen(), request.as_bytes()).await, 431);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "head_too_large")]), 1.0);
}

/// The deadline is ten seconds and not configurable; the three wait together.
#[tokio::test]
async fn a_head_that_never_ends_is_408_and_a_peers_first_line_is_cut() {
    let public = listening("").await;
    let mut head = connect(public.listen()).await;
    head.write_all(b"GET / HTTP/1.1\r\nHost: a").await.unwrap();
    let mut line = connect(public.listen()).await;
    line.write_all(b"HELLO:1:slow").await.unwrap();
    let mut nothing = connect(public.listen()).await;
    assert_refusal(&client::last_answer(&mut head).await, 408);
    client::to_end(&mut line).await.unwrap();
    assert_eq!(client::to_end(&mut nothing).await.unwrap(), b"");
    let metrics = public.quiet().await;
    let rejected = |reason| metrics.value("ops_proxy_rejected_total", &[("reason", reason)]);
    assert_eq!(rejected("head_timeout") + rejected("handshake_timeout"), 3.0);
    assert_eq!(rejected("handshake_timeout"), 1.0);
}

#[tokio::test]
async fn an_unsound_head_is_400() {
    let backend = Backend::http().await;
    let mesh = Mesh::serving(Path::Local, backend.addr(), "").await;
    let heads: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: app.example\r\nHost: other.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: app.example\r\nHost: app.example\r\n\r\n",
        b"GET http://other.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : app.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xc3\xa9.example\r\n\r\n",
    ];
    for head in heads {
        assert_refusal(&client::exchange(mesh.addr(), head).await, 400);
    }
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_head")]), 8.0);
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_framing")]), 1.0);
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn http_2_with_unsound_frames_is_refused_cleanly() {
    let public = listening("").await;
    let mut stream = connect(public.listen()).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nGET /").await.unwrap();
    let answer = client::to_end(&mut stream).await.unwrap();
    // SETTINGS, then GOAWAY with PROTOCOL_ERROR.
    assert_eq!(answer[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(answer[9..], [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_h2")]), 1.0);
}

#[tokio::test]
async fn bytes_of_no_protocol_are_closed_and_counted() {
    let public = listening("").await;
    let mut stream = connect(public.listen()).await;
    stream.write_all(b"\x00\x01\x02\x03\r\n\r\n").await.unwrap();
    let end = client::to_end(&mut stream).await;
    assert!(end.is_err() || end.is_ok_and(|bytes| bytes.is_empty()));
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[]), 1.0);
}

/// The upload is longer than what the buffers on the way hold: if the peer closed
/// without reading on, writing would fail and the answer be lost.
#[tokio::test]
async fn an_upload_to_an_unknown_name_can_still_read_its_answer() {
    let public = listening("").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    let mut stream = socket.connect(public.listen()).await.unwrap();
    let body = vec![b'x'; 200_000];
    let length = body.len();
    let head =
        format!("POST / HTTP/1.1\r\nHost: nobody.example\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    assert_refusal(&client::last_answer(&mut stream).await, 404);
}
