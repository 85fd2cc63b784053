//! Names that are passed on over several peers.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{NAME, connecting, every_way, launch, listening};

/// A peer that listens and passes everything on to `to`.
async fn passing(id: &str, to: &[&Peer], args: &str) -> Peer {
    let upstreams: Vec<String> = to.iter().map(|peer| peer.listen().to_string()).collect();
    let upstreams = upstreams.join(",");
    let run = format!("run --listen 127.0.0.1:0 --peer-id {id} --connect {upstreams}");
    launch().args(&format!("{run} --transit * {args}")).peer().await
}

/// Bytes that show when any of them is lost, moved or repeated.
fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes / 8)
        .flat_map(|n| (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes())
        .collect()
}

#[tokio::test]
async fn a_chain_of_four_peers_carries_every_way_and_100_mib_both_ways() {
    let (http, echo) = (Backend::http().await, Backend::echo().await);
    let edge = listening("--peer-id edge --tcp 127.0.0.1:0=bulk.example --access-log json").await;
    let middle = passing("middle", &[&edge], "--access-log json").await;
    let inner = passing("inner", &[&middle], "--access-log json").await;
    let services =
        format!("--service {NAME}={} {}", http.addr(), every_way("bulk.example", echo.addr()));
    let site =
        connecting(inner.listen(), &format!("{services} --peer-id site --access-log json")).await;
    edge.serves(&[NAME, "bulk.example"]).await;

    for _ in 0..20 {
        assert_eq!(client::get(edge.listen(), "/", NAME).await.status, 200);
    }
    let stream = client::stream_to(edge.listen(), "bulk.example").await;
    carries(stream, payload(1 << 20)).await;
    let stream = client::connect(edge.tcp()[0]).await;
    carries(stream, payload(100 << 20)).await;

    for hop in [&edge, &middle, &inner] {
        let metrics = hop.quiet().await;
        let of = |family: &str, name: &str| metrics.value(family, &[("client_name", name)]);
        assert_eq!(of("ops_proxy_requests_failed_total", NAME), 0.0);
        assert_eq!(of("ops_proxy_requests_success_total", "bulk.example"), 2.0);
        assert!(of("ops_proxy_requests_success_total", NAME) >= 20.0);
        assert_eq!(metrics.value("ops_proxy_data_connections_unexpected_total", &[]), 0.0);
    }
    // One id on all hops.
    let of_bulk = |peer: &Peer| -> Vec<String> {
        let events = peer.events();
        let bulk = events
            .iter()
            .filter(|one| one.field("name") == "bulk.example" && !one.field("outcome").is_empty());
        bulk.map(|one| one.field("id").to_owned()).collect()
    };
    until("the access logs of all hops", async || {
        let logs = [&edge, &middle, &inner, &site].map(of_bulk);
        (logs[0].len() == 2 && logs.iter().all(|log| *log == logs[0])).then_some(())
    })
    .await;
}

/// Sends these bytes while they come back, and ends in both directions.
async fn carries(stream: tokio::net::TcpStream, sent: Vec<u8>) {
    let (mut reads, mut writes) = stream.into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writes.write_all(&sent).await.unwrap();
        writes.shutdown().await.unwrap();
    });
    let mut received = Vec::with_capacity(expected.len());
    reads.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} bytes of {} came back", received.len(), expected.len());
}

#[tokio::test]
async fn a_name_stays_reachable_while_any_path_is_left() {
    let http = Backend::http().await;
    let one = listening("--peer-id one").await;
    let two = passing("two", &[&one], "").await;
    let three = passing("three", &[&one, &two], "").await;
    // By two ways: beside `three`, and beside `two`.
    let service = format!("--service {NAME}={}", http.addr());
    let beside_two = connecting(two.listen(), &format!("{service} --peer-id site/a")).await;
    let beside_three = connecting(three.listen(), &format!("{service} --peer-id site/b")).await;
    for hub in [&one, &two, &three] {
        hub.serves(&[NAME]).await;
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    }
    drop(beside_two);
    until("two to have the name over three alone", async || {
        let answer = client::get(two.listen(), "/", NAME).await;
        (answer.status == 200).then_some(())
    })
    .await;
    for hub in [&one, &two, &three] {
        let loops = hub.metrics().await.value("ops_proxy_rejected_total", &[("reason", "loop")]);
        assert_eq!(loops, 0.0);
    }
    drop(beside_three);
    for hub in [&one, &two, &three] {
        hub.serves(&[]).await;
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 503);
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_said() {
    for (args, part) in [
        ("run --listen 127.0.0.1:0 --transit *", "transit: what is registered here is passed on"),
        ("run --connect 127.0.0.1:1 --transit *", "set listen and connect"),
        ("run --listen 127.0.0.1:0 --connect 127.0.0.1:1 --transit a.*.b", "expected a name"),
    ] {
        let (code, _, stderr) = launch().args(args).start().output().await;
        assert_eq!(code, Some(2), "{args}: {stderr}");
        assert!(stderr.contains(part), "{args}: {stderr}");
    }
}
