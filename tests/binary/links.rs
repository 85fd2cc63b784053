//! Links between peers, and what becomes of the names when they end.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::wait::{until, within};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::{NAME, connecting, listening};

fn of_name(metrics: &Metrics, family: &str) -> f64 {
    metrics.value(family, &[("client_name", NAME)])
}

#[tokio::test]
async fn every_heartbeat_is_a_registration() {
    let public = listening("").await;
    let _behind =
        connecting(public.listen(), &format!("--service {NAME}=127.0.0.1:1 --heartbeat 50ms"))
            .await;
    let metrics = public
        .until("three registrations", |metrics| {
            of_name(metrics, "ops_proxy_client_registrations_total") >= 3.0
        })
        .await;
    assert_eq!(of_name(&metrics, "ops_proxy_client_disconnects_total"), 0.0);
    assert_eq!(metrics.value("ops_proxy_clients_total", &[]), 1.0);
}

#[tokio::test]
async fn a_silent_link_is_dropped_and_its_name_answers_503() {
    let public = listening("--heartbeat 50ms --peer-timeout 200ms").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    public.serves(&[]).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 503);
    let metrics = public.metrics().await;
    assert_eq!(of_name(&metrics, "ops_proxy_client_disconnects_total"), 1.0);
    assert_eq!(of_name(&metrics, "ops_proxy_client_up"), 0.0);
    assert_eq!(metrics.value("ops_proxy_clients_total", &[]), 1.0);
    assert!(peer.line().await.starts_with("ERROR:silent:"), "it is told why");
    assert_eq!(peer.line().await, "", "the dead link is closed");
}

#[tokio::test]
async fn a_returning_peer_id_replaces_its_old_link_at_once() {
    let public = listening("").await;
    let mut old = Link::register(public.listen(), "by-hand", &[NAME]).await;
    let mut new = Link::register(public.listen(), "by-hand", &[NAME]).await;
    assert!(old.line().await.starts_with("ERROR:replaced:"), "it is told why");
    assert_eq!(old.line().await, "", "the old link is closed");
    let metrics = public
        .until("the old link's end", |metrics| {
            of_name(metrics, "ops_proxy_client_disconnects_total") == 1.0
        })
        .await;
    assert_eq!(of_name(&metrics, "ops_proxy_client_up"), 1.0);
    let mut client = connect(public.listen()).await;
    client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
    assert_eq!(new.forward().await.name, NAME);
}

#[tokio::test]
async fn unregister_withdraws_the_name_and_keeps_the_link() {
    let public = listening("").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME, "other.example"]).await;
    peer.send(&format!("UNREGISTER:{NAME}")).await;
    assert_eq!(peer.line().await, "OK:1");
    public.serves(&["other.example"]).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 503);
    let metrics = public.metrics().await;
    assert_eq!(of_name(&metrics, "ops_proxy_client_disconnects_total"), 1.0);
}

/// What a stranger's first lines are answered with, until the connection ends.
async fn answer_to(to: std::net::SocketAddr, lines: &[u8]) -> String {
    let mut stream = connect(to).await;
    stream.write_all(lines).await.unwrap();
    String::from_utf8(client::to_end(&mut stream).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_bad_line_is_answered_counted_and_ends_the_link() {
    let public = listening("--peer-id hub").await;
    let long = [b"HELLO:1:p\nREGISTER:", &vec![b'a'; 9000][..]].concat();
    let cases: [(&[u8], &str, &str); 5] = [
        (b"HELLO:9:p\n", "ERROR:unsupported_version:", "unsupported_version"),
        (b"HELLO:1:p\nNOISE:x\n", "OK:0:hub\nERROR:bad_line:", "bad_line"),
        (&long, "OK:0:hub\nERROR:line_too_long:", "line_too_long"),
        (b"HELLO:1:p\nREGISTER:good.example,_bad\n", "OK:0:hub\nERROR:bad_name:", "bad_name"),
        (
            b"HELLO:1:p\nFORWARD:0123456789abcdef0123456789abcdef:x:http:127.0.0.1:1\n",
            "OK:0:hub\nERROR:unexpected_command:",
            "unexpected_command",
        ),
    ];
    for (lines, answer, reason) in cases {
        let labels = [("reason", reason)];
        let before = public.metrics().await.value("ops_proxy_rejected_total", &labels);
        let answered = answer_to(public.listen(), lines).await;
        assert!(answered.starts_with(answer), "{reason}: {answered:?}");
        let after = public.metrics().await.value("ops_proxy_rejected_total", &labels);
        assert_eq!(after, before + 1.0, "{reason}");
    }
    // A refused line registers nothing, not even its good names.
    assert_eq!(public.metrics().await.value("ops_proxy_clients_total", &[]), 0.0);
}

/// Ten thousand names are one peer's limit; what it has registered goes with it,
/// and is forgotten in time.
#[tokio::test]
async fn a_peer_that_registers_a_hundred_thousand_names_is_refused_at_its_limit() {
    let public = listening("--name-retention 10ms").await;
    let mut greedy = Link::register(public.listen(), "greedy", &["n0.example"]).await;
    let names: Vec<String> = (1..100_000).map(|n| format!("n{n}.example")).collect();
    let mut answers = Vec::new();
    for line in names.chunks(300) {
        greedy.try_send(&format!("REGISTER:{}", line.join(","))).await;
        answers.push(greedy.line().await);
        if !answers.last().unwrap().starts_with("OK:") {
            break;
        }
    }
    assert!(answers.pop().unwrap().starts_with("ERROR:too_many_names:"));
    assert_eq!(answers.len(), 9_999 / 300, "as many lines as fit");
    assert!(answers.iter().all(|answer| answer == "OK:300"));
    assert_eq!(greedy.line().await, "", "the link is closed");
    let metrics = public
        .until("the names to be forgotten", |m| m.value("ops_proxy_clients_total", &[]) == 0.0)
        .await;
    let refused = [("reason", "too_many_names")];
    assert_eq!(metrics.value("ops_proxy_rejected_total", &refused), 1.0);
    // Another peer has its own limit.
    let _modest = Link::register(public.listen(), "modest", &[NAME]).await;
    public.serves(&[NAME]).await;
}

#[tokio::test]
async fn what_a_stranger_sends_writes_no_line_of_its_own_into_the_log() {
    let public = listening("").await;
    for name in ["a\rb", "a\x1b[2J", "a\0b", "a\u{2028}b"] {
        let lines = format!("HELLO:1:p\nREGISTER:{name}\n");
        answer_to(public.listen(), lines.as_bytes()).await;
    }
    let refused = |log: &str| log.lines().filter(|line| line.contains("refused")).count();
    until("four refusals in the log", async || (refused(&public.log()) == 4).then_some(())).await;
    assert!(!public.log().contains(['\r', '\x1b', '\0', '\u{2028}']), "{:?}", public.log());
}

#[tokio::test]
async fn a_register_line_in_one_byte_writes_registers() {
    let public = listening("--peer-id hub").await;
    let mut stream = connect(public.listen()).await;
    stream.set_nodelay(true).unwrap();
    for byte in format!("HELLO:1:by-hand\r\nREGISTER:{NAME}\r\n").bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 14];
    within("two answers", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"OK:0:hub\nOK:1\n");
    public.serves(&[NAME]).await;
}

/// Small buffers on the way, so that few FORWARD lines fill it.
#[tokio::test]
async fn a_peer_that_stops_reading_loses_its_link() {
    let public = listening("--data-timeout 60s").await;
    let name = format!("{}.example", vec!["a".repeat(60); 4].join("."));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let stream = socket.connect(public.listen()).await.unwrap();
    let mut peer = Link::register_on(stream, "by-hand", &[&name]).await;

    let request = client::get_request("/", &name);
    let mut waiting = Vec::new();
    let failed = [("client_name", &*name), ("reason", "forward_write_error")];
    until("the link to be given up", async || {
        for _ in 0..20 {
            let mut client = connect(public.listen()).await;
            client.write_all(request.as_bytes()).await.unwrap();
            waiting.push(client);
        }
        let metrics = public.metrics().await;
        (metrics.value("ops_proxy_proxy_errors_total", &failed) > 0.0).then_some(())
    })
    .await;
    for client in &mut waiting {
        let status = client::last_answer(client).await.status;
        assert!(status == 502 || status == 503, "{status}");
    }
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_client_up", &[("client_name", &name)]), 0.0);
    let requests = metrics.value("ops_proxy_requests_total", &[]);
    assert_eq!(metrics.value("ops_proxy_requests_failed_total", &[]), requests);
    while !peer.line().await.is_empty() {}
}

#[tokio::test]
async fn a_connecting_peer_returns_to_a_listening_peer_that_was_restarted() {
    let backend = Backend::http().await;
    let first = listening("").await;
    let addr = first.listen();
    let behind = connecting(addr, &format!("--service {NAME}={}", backend.addr())).await;
    first.serves(&[NAME]).await;
    drop(first);
    let second = crate::launch().args(&format!("run --listen {addr}")).peer().await;
    second.serves(&[NAME]).await;
    assert_eq!(client::get(addr, "/", NAME).await.status, 200);
    drop(behind);
}
