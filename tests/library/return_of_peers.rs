//! A listening peer that restarts under a thousand connecting peers.

use std::time::Duration;

use ops_proxy::config::PeerConfig;
use ops_proxy::connecting::Backoff;
use ops_proxy::peer::Peer;
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::payload::Payload;
use ops_proxy_tests::process::{self, Launch};
use tokio::task::JoinSet;

const PEERS: usize = 1000;

/// When each of a thousand peers is back, counted from the moment at which the
/// listening peer is: it was lost at zero by all, and is back after `away`.
fn returns(seed: u64, away: Duration) -> Vec<Duration> {
    let draws = Payload::new(seed, PEERS * 64 * 8).bytes();
    let mut draws = draws.chunks_exact(8).map(|draw| u64::from_le_bytes(draw.try_into().unwrap()));
    let mut returns: Vec<Duration> = (0..PEERS)
        .map(|_| {
            let mut backoff = Backoff::default();
            let mut at = Duration::ZERO;
            loop {
                at += backoff.next(draws.next().expect("64 draws a peer are enough"));
                if at >= away {
                    return at - away;
                }
            }
        })
        .collect();
    returns.sort_unstable();
    returns
}

/// As many as come at most within any `window`.
fn densest(returns: &[Duration], window: Duration) -> usize {
    let within = |first: &Duration| returns.partition_point(|at| *at < *first + window);
    returns.iter().enumerate().map(|(index, first)| within(first) - index).max().unwrap()
}

/// Dialling itself takes no time here: what is shown is when peers try. Who has
/// tried in vain for longer waits for longer, but never more than half a minute.
#[test]
fn after_a_restart_a_thousand_peers_are_back_in_time_and_come_spread_out() {
    for (seed, away) in (1..=20).flat_map(|seed| [1, 2, 3, 5, 60, 600].map(|away| (seed, away))) {
        let returns = returns(seed, Duration::from_secs(away));
        let (most, all) = (returns[PEERS * 95 / 100 - 1], returns[PEERS - 1]);
        assert!(all <= Duration::from_secs(30), "{away} s away: all after {all:?}");
        if away <= 3 {
            assert!(most <= Duration::from_secs(10), "{away} s away: 95 % after {most:?}");
        }
        let at_once = densest(&returns, Duration::from_millis(100));
        assert!(at_once <= PEERS / 8, "{away} s away: {at_once} within 100 ms");
    }
}

/// A connecting peer of this very process, which serves `name` with `backend`.
fn config(to: &str, name: &str, backend: &str) -> PeerConfig {
    let mut config = PeerConfig::new(name.replace(".example", "").parse().unwrap());
    config.connect.push(to.parse().unwrap());
    config.services.insert(name.parse().unwrap(), backend.parse().unwrap());
    config.check().unwrap();
    config
}

async fn listening(addr: &str) -> process::Peer {
    let binary = env!("CARGO_BIN_EXE_ops-proxy-under-test");
    Launch::new(binary).args(&format!("run --listen {addr}")).peer().await
}

/// The connecting peers are real ones on real sockets; only that they share a
/// process is for the test's sake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_peers_return_to_a_listening_peer_that_was_restarted() {
    let backend = Backend::http().await;
    let first = listening("127.0.0.1:0").await;
    let addr = first.listen().to_string();
    let mut peers = JoinSet::new();
    for n in 0..PEERS {
        let config = config(&addr, &format!("n{n}.example"), &backend.addr().to_string());
        let peer = Peer::start(config, TokioNet).await.unwrap();
        peers.spawn(peer.run());
    }
    let all_up = |metrics: &ops_proxy_tests::metrics::Metrics| {
        metrics.value("ops_proxy_clients_connected", &[]) == PEERS as f64
    };
    first.until("a thousand peers", all_up).await;
    drop(first);

    let second = listening(&addr).await;
    let metrics = second.until("a thousand peers to be back", all_up).await;
    assert_eq!(metrics.value("ops_proxy_links", &[]), PEERS as f64);
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[]), 0.0);
    for n in [0, PEERS / 2, PEERS - 1] {
        let answer = client::get(second.listen(), "/", &format!("n{n}.example")).await;
        assert_eq!(answer.status, 200);
    }
    second.quiet().await;
    assert_eq!(peers.len(), PEERS);
    assert!(peers.try_join_next().is_none(), "a connecting peer has ended");
}
