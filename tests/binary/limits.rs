//! Strangers in great number: whatever they send, the peer stays up, small, and
//! open to everybody else.

use std::net::SocketAddr;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect, get_request, to_end};
use ops_proxy_tests::hello::first_bytes;
use ops_proxy_tests::kernel::raise_file_limit;
use ops_proxy_tests::link::Link;
use ops_proxy_tests::payload::Payload;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Mesh, NAME, Path, listening};

/// Strangers that come at a time.
const CROWD: usize = 16;

/// What resident memory may grow by once the allocator has warmed up. A leak of a
/// kilobyte a connection would be more.
const FLAT: usize = 8 * 1024 * 1024;

fn rejected(reason: &str) -> [(&str, &str); 1] {
    [("reason", reason)]
}

/// Sends each of `count` messages on a connection of its own, [`CROWD`] at a time,
/// and waits for the answer to each.
async fn crowd(to: SocketAddr, count: usize, message: impl Fn(usize) -> Vec<u8>) {
    let mut strangers = JoinSet::new();
    for n in 0..count {
        if strangers.len() >= CROWD {
            strangers.join_next().await.unwrap().unwrap();
        }
        let message = message(n);
        strangers.spawn(async move {
            let mut stream = connect(to).await;
            // The peer may have closed already: that is an answer too.
            let _ = stream.write_all(&message).await;
            let _ = stream.shutdown().await;
            let _ = to_end(&mut stream).await;
        });
    }
    strangers.join_all().await;
}

#[tokio::test]
async fn at_the_connection_limit_one_more_is_503_and_peers_still_come() {
    for path in Path::ALL {
        let backend = Backend::echo().await;
        let mesh = Mesh::serving(path, backend.addr(), "--max-connections 2").await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(mesh.addr()).await;
            stream.write_all(get_request("/", NAME).as_bytes()).await.unwrap();
            client::raw_head(&mut stream).await;
            held.push(stream);
        }
        let answer = client::get(mesh.addr(), "/", NAME).await;
        assert_eq!(answer.status, 503, "{path:?}");
        answer.field("retry-after").parse::<u32>().unwrap();
        let _link = Link::register(mesh.addr(), "late", &["late.example"]).await;
        drop(held);
        let metrics = mesh.public.quiet().await;
        assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("connection_limit")), 1.0);
        assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 2.0, "refused before routing");
    }
}

#[tokio::test]
async fn at_the_limit_of_its_source_one_more_is_closed() {
    let backend = Backend::http().await;
    let args = format!("--max-connections-per-source 2 --service {NAME}={}", backend.addr());
    let public = listening(&args).await;
    let mut held = [connect(public.listen()).await, connect(public.listen()).await];
    for stream in &mut held {
        stream.write_all(get_request("/", NAME).as_bytes()).await.unwrap();
        assert_eq!(client::head(stream).await.status, 200);
    }
    let mut refused = connect(public.listen()).await;
    let _ = to_end(&mut refused).await;
    let mut other = client::connect_from("127.0.0.2:0", public.listen()).await;
    other.write_all(get_request("/", NAME).as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut other).await.status, 200, "another source is not concerned");
    drop((held, other));
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("connection_limit")), 1.0);
}

#[tokio::test]
async fn at_the_limit_of_its_source_a_silent_connection_makes_room() {
    let backend = Backend::http().await;
    let args = format!("--max-connections-per-source 2 --service {NAME}={}", backend.addr());
    let public = listening(&args).await;
    let mut oldest = connect(public.listen()).await;
    let _other = connect(public.listen()).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    let _ = to_end(&mut oldest).await;
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("head_limit")), 1.0);
}

#[tokio::test]
async fn five_thousand_slow_heads_keep_nobody_out() {
    raise_file_limit();
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let mut slow: Vec<TcpStream> = Vec::new();
    let mut good = 0.0;
    for n in 0..5_000 {
        let mut stream = connect(public.listen()).await;
        stream.write_all(b"G").await.unwrap();
        slow.push(stream);
        // While they come, and when all are there.
        if n % 100 == 99 {
            assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
            good += 1.0;
        }
    }
    for _ in 0..50 {
        assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
        good += 1.0;
    }
    drop(slow);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), good);
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("connection_limit")), 0.0);
}

#[tokio::test]
async fn an_operator_sets_how_many_names_and_waiting_requests_a_peer_may_have() {
    let public = listening(
        "--max-names-per-peer 2 --max-pending-per-peer 1 --data-timeout 1m --name-retention 1m",
    )
    .await;
    let mut site = Link::register(public.listen(), "site", &[NAME, "two.example"]).await;
    // Refreshing is no growth; a third name is.
    site.send(&format!("REGISTER:{NAME},two.example")).await;
    assert_eq!(site.line().await, "OK:2");
    let mut waiting = connect(public.listen()).await;
    waiting.write_all(get_request("/", NAME).as_bytes()).await.unwrap();
    site.forward().await;
    let answer = client::get(public.listen(), "/", NAME).await;
    assert_eq!(answer.status, 503);
    site.send("REGISTER:three.example").await;
    assert!(site.line().await.starts_with("ERROR:too_many_names:"));
    assert_eq!(client::head(&mut waiting).await.status, 502, "its link is gone");
    let metrics = public.quiet().await;
    for reason in ["pending_limit", "too_many_names"] {
        assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected(reason)), 1.0, "{reason}");
    }
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 1.0, "one was routed");
}

#[tokio::test]
async fn a_hundred_thousand_unknown_names_add_no_series() {
    let public = listening("").await;
    let series = async || public.page("/metrics").await.text().lines().count();
    crowd(public.listen(), 10, |n| get_request("/", &format!("h{n}.example")).into_bytes()).await;
    crowd(public.listen(), 10, |n| first_bytes(&format!("s{n}.example"))).await;
    let before = series().await;
    // A hundred on each connection, of which the last closes it.
    let a_hundred = |n: usize| {
        let get = |m| format!("GET / HTTP/1.1\r\nHost: host-{m}.example\r\n\r\n");
        let last = 100 * n + 99;
        let mut all: String = (100 * n..last).map(get).collect();
        all += &get_request("/", &format!("host-{last}.example"));
        all.into_bytes()
    };
    crowd(public.listen(), 500, a_hundred).await;
    crowd(public.listen(), 50_000, |n| first_bytes(&format!("sni-{n}.example"))).await;
    assert_eq!(series().await, before);
    let metrics = public.quiet().await;
    let unknown = [("client_name", "_other"), ("reason", "no_client")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unknown), 100_020.0);
}

#[tokio::test]
async fn ten_thousand_random_byte_strings_leave_it_serving_and_small() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let noise = |n: usize| Payload::new(n as u64, 1 + n % 700).bytes();
    crowd(public.listen(), 2_000, noise).await;
    let before = public.resident_bytes();
    crowd(public.listen(), 10_000, |n| noise(n + 2_000)).await;
    let after = public.resident_bytes();
    assert!(after < before + FLAT, "{before} bytes before, {after} after");
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    public.quiet().await;
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_costs_no_memory() {
    let public = listening("").await;
    let endless = |_| [b"HELLO:1:".to_vec(), vec![b'x'; 1 << 20]].concat();
    crowd(public.listen(), 20, endless).await;
    let before = public.resident_bytes();
    crowd(public.listen(), 100, endless).await;
    let after = public.resident_bytes();
    assert!(after < before + FLAT, "{before} bytes before, {after} after");
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("line_too_long")), 120.0);
}
