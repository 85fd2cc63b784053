//! The access log: a line for each request, from which no stranger can break out.

use std::fs::File;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::h2::grpc;
use crate::{NAME, connecting, every_way, launch, listening};

/// The access lines of a peer, once there are as many as these.
async fn lines(peer: &Peer, count: usize) -> Vec<Event> {
    until(&format!("{count} lines of the access log"), async || {
        let lines: Vec<Event> =
            peer.events().into_iter().filter(|event| !event.field("outcome").is_empty()).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn one_id_finds_a_request_in_the_logs_of_both_peers() {
    let backend = Backend::named("app").await;
    let hub = listening("--access-log json").await;
    let service = every_way(NAME, backend.addr());
    let site =
        connecting(hub.listen(), &format!("{service} --peer-id site-1 --access-log json")).await;
    hub.serves(&[NAME]).await;
    let mut stream = connect(hub.listen()).await;
    for path in ["/a?secret=1", "/b"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 200);
    }
    drop(stream);
    let (of_hub, of_site) = (lines(&hub, 2).await, lines(&site, 1).await);
    let id = of_site[0].field("id");
    assert_eq!((of_site[0].field("provider"), of_site[0].field("outcome")), ("local", "ok"));
    // What is logged is what is counted.
    let metrics = hub.quiet().await;
    for (field, family) in [
        ("tx", "ops_proxy_connections_bytes_tx_total"),
        ("rx", "ops_proxy_connections_bytes_rx_total"),
    ] {
        let sum = |lines: &[Event]| lines.iter().map(|line| line.number(field)).sum::<f64>();
        let counted = metrics.value(family, &[("client_name", NAME)]);
        assert!(counted > 0.0);
        assert_eq!((sum(&of_hub), sum(&of_site)), (counted, counted), "{field}");
    }
    for (line, (n, path)) in of_hub.iter().zip([(1, "/a"), (2, "/b")]) {
        assert_eq!(line.field("id"), format!("{id}.{n}"));
        assert_eq!((line.field("path"), line.field("method")), (path, "GET"));
        assert_eq!((line.field("way"), line.field("name")), ("http", NAME));
        assert_eq!((line.field("provider"), line.field("outcome")), ("site-1", "ok"));
    }
    assert!(!hub.log().contains("secret"), "the query is left out");
}

#[tokio::test]
async fn refusals_and_streams_have_a_line_each() {
    let echo = Backend::echo().await;
    let (_port, refusing) = backend::refusing();
    let h2 = grpc::backend("one").await;
    let args = format!(
        "{} --service no.example={refusing} --service h2.example={}",
        every_way(NAME, echo.addr()),
        h2.addr()
    );
    let hub = listening(&format!("{args} --access-log json --access-log-query")).await;
    drop(client::stream_to(hub.listen(), NAME).await);
    assert_eq!(client::get(hub.listen(), "/?q", "no.example").await.status, 502);
    assert_eq!(client::get(hub.listen(), "/", "nobody.example").await.status, 404);
    let bad = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(client::exchange(hub.listen(), bad.as_bytes()).await.status, 400);
    let mut h2 = grpc::Client::dial(hub.listen(), "h2.example").await;
    assert_eq!(h2.unary("a").await.unwrap(), "one:a");
    drop(h2);
    let lines = lines(&hub, 5).await;
    let of = |way: &str, name: &str| {
        let mut found =
            lines.iter().filter(|line| line.field("way") == way && line.field("name") == name);
        let line = found.next().unwrap_or_else(|| panic!("no line of {name}: {lines:?}"));
        (line.field("outcome"), line.field("reason"))
    };
    assert_eq!(of("connect", NAME), ("ok", ""));
    // One for its connection.
    of("http", "h2.example");
    assert_eq!(of("http", "no.example"), ("failed", "backend_unreachable"));
    assert_eq!(of("http", "nobody.example"), ("refused", "unknown_name"));
    assert_eq!(of("http", ""), ("refused", "bad_head"));
    assert!(hub.log().contains("/?q"), "the query is kept where that is wanted");
}

#[tokio::test]
async fn a_hundred_thousand_requests_are_a_hundred_thousand_lines() {
    const CLIENTS: usize = 20;
    const EACH: usize = 5_000;
    const AT_ONCE: usize = 50;
    let backend = Backend::start(|mut stream| async move {
        let mut buffer = Vec::new();
        while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            let heads = buffer.windows(4).filter(|end| end == b"\r\n\r\n").count();
            let whole = buffer.windows(4).rposition(|end| end == b"\r\n\r\n");
            buffer.drain(..whole.map_or(0, |at| at + 4));
            let answers = b"HTTP/1.1 204 No Content\r\n\r\n".repeat(heads);
            if stream.write_all(&answers).await.is_err() {
                return;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stderr");
    let launch = launch().args("run --access-log text --service");
    let hub = launch
        .args(&format!("{NAME}={}", backend.addr()))
        .peer_logging_to(File::create(&path).unwrap())
        .await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let to = hub.listen();
        clients.spawn(async move {
            let mut stream = connect(to).await;
            let some = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").repeat(AT_ONCE);
            let mut answers = vec![0; AT_ONCE * b"HTTP/1.1 204 No Content\r\n\r\n".len()];
            for _ in 0..EACH / AT_ONCE {
                stream.write_all(some.as_bytes()).await.unwrap();
                stream.read_exact(&mut answers).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    let in_all = (CLIENTS * EACH) as f64;
    let counted = |metrics: &Metrics| {
        metrics.value("ops_proxy_http_requests_total", &[("code", "2xx")]) == in_all
    };
    let metrics = hub.until("all requests to be counted", counted).await;
    let lasted = "ops_proxy_http_request_duration_seconds_count";
    assert_eq!(metrics.value(lasted, &[]), in_all);
    assert_eq!(metrics.value("ops_proxy_log_lines_dropped_total", &[]), 0.0);
    until("all lines to be written", async || {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| line.contains(" access: id="));
        (lines.filter(|line| line.ends_with("outcome=ok")).count() == CLIENTS * EACH).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_format_is_refused_with_those_there_are() {
    let (code, _, stderr) = launch().args("run --access-log yes").start().output().await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("off, text or json"), "{stderr}");
}
