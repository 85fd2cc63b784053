//! The connecting side, seen by a listening peer that is played by hand.

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, get_request};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::process::Peer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::{NAME, connecting};

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER_ID: &str = "fedcba9876543210fedcba9876543210";

/// A connecting peer that serves [`NAME`], and the other end of its link, on
/// which HELLO and REGISTER have been read and only HELLO was answered.
async fn connected(listener: &TcpListener, backend: std::net::SocketAddr) -> (Peer, Link) {
    let addr = listener.local_addr().unwrap();
    let args = format!("--service {NAME}={backend} --peer-id beside --idle-data 0");
    let behind = connecting(addr, &args).await;
    let mut link = Link::on(backend::accept(listener).await);
    assert_eq!(link.line().await, "HELLO:1:beside");
    assert_eq!(link.line().await, format!("REGISTER:{NAME}"));
    link.send("OK:0:hub").await;
    (behind, link)
}

#[tokio::test]
async fn a_forward_in_the_segment_of_its_ok_is_answered_with_data() {
    let backend = Backend::http().await;
    let (listener, _) = backend::listener().await;
    let (behind, mut link) = connected(&listener, backend.addr()).await;
    link.send(&format!("OK:1\nFORWARD:{ID}:{NAME}:http:192.0.2.7:5555")).await;
    let mut data = Link::on(backend::accept(&listener).await);
    assert_eq!(data.line().await, format!("DATA:{ID}"));
    let mut stream = data.into_stream();
    stream.write_all(get_request("/x", NAME).as_bytes()).await.unwrap();
    assert_eq!(client::last_answer(&mut stream).await.text(), format!("GET /x\n{NAME}\n"));
    drop(stream);
    let metrics = behind
        .until("the forward's end", |metrics| {
            metrics.value("ops_proxy_client_active_forwards", &[]) == 0.0
        })
        .await;
    assert_eq!(metrics.value("ops_proxy_client_forwards_total", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &[]), 0.0);
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 1.0);
}

/// DATA says that bytes can flow: without a backend there is none.
#[tokio::test]
async fn a_forward_that_cannot_be_served_is_answered_with_fail() {
    let (_socket, refusing) = backend::refusing();
    let (listener, _) = backend::listener().await;
    let (behind, mut link) = connected(&listener, refusing).await;
    link.send(&format!("OK:1\nFORWARD:{ID}:{NAME}:http:192.0.2.7:5555")).await;
    assert_eq!(link.line().await, format!("FAIL:{ID}:backend_refused"));
    link.send(&format!("FORWARD:{OTHER_ID}:nobody.example:http:192.0.2.7:5555")).await;
    assert_eq!(link.line().await, format!("FAIL:{OTHER_ID}:unknown_name"));
    let metrics = behind.metrics().await;
    for reason in ["backend_refused", "unknown_name"] {
        let failed = metrics.value("ops_proxy_client_forwards_failed_total", &[("reason", reason)]);
        assert_eq!(failed, 1.0, "{reason}");
    }
    // A name that somebody makes up gets no series of its own.
    for name in [NAME, "_other"] {
        let labels = [("client_name", name)];
        assert_eq!(metrics.value("ops_proxy_client_requests_failed_total", &labels), 1.0, "{name}");
    }
    assert_eq!(metrics.value("ops_proxy_client_requests_total", &[]), 2.0);
}

/// As after a client that left while FORWARD was under way.
#[tokio::test]
async fn a_data_connection_that_is_cut_at_once_closes_the_backend() {
    let (backend, addr) = backend::listener().await;
    let (listener, _) = backend::listener().await;
    let (behind, mut link) = connected(&listener, addr).await;
    link.send(&format!("OK:1\nFORWARD:{ID}:{NAME}:http:192.0.2.7:5555")).await;
    let mut data = Link::on(backend::accept(&listener).await);
    assert_eq!(data.line().await, format!("DATA:{ID}"));
    let mut backend = backend::accept(&backend).await;
    backend::reset(data.into_stream());
    client::to_end(&mut backend).await.unwrap_err();
    let metrics = behind
        .until("the forward's end", |metrics| {
            metrics.value("ops_proxy_client_active_forwards", &[]) == 0.0
        })
        .await;
    let broken = [("reason", "data_io_error")];
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &broken), 1.0);
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 1.0);
}

#[tokio::test]
async fn a_line_that_has_no_place_there_ends_the_link_and_dials_nothing() {
    let backend = Backend::http().await;
    let (listener, _) = backend::listener().await;
    let (behind, mut link) = connected(&listener, backend.addr()).await;
    link.send("OK:1\nREGISTER:evil.example").await;
    assert!(link.line().await.starts_with("ERROR:unexpected_command:"));
    assert_eq!(link.line().await, "", "the link is closed");
    let metrics = behind.metrics().await;
    let rejected = [("reason", "unexpected_command")];
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected), 1.0);
    assert_eq!(backend.accepted(), 0);
    // It comes back all the same.
    let mut again = Link::on(backend::accept(&listener).await);
    assert_eq!(again.line().await, "HELLO:1:beside");
}

#[tokio::test]
async fn a_listening_peer_that_falls_silent_is_dialled_again() {
    let (listener, addr) = backend::listener().await;
    let timing = "--heartbeat 50ms --peer-timeout 200ms";
    let behind = connecting(addr, &format!("--service {NAME}=127.0.0.1:1 {timing}")).await;
    let silent = backend::accept(&listener).await;
    let _again = backend::accept(&listener).await;
    let metrics = behind.metrics().await;
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 0.0);
    drop(silent);
}
