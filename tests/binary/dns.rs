//! A backend whose DNS gets no answer, beside one that is well.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::dns::Dns;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::skipped;
use tokio::task::JoinSet;
use tokio::time::{Duration, interval};

use crate::{BINARY, NAME, listening};

const DEAD: &str = "dead.example";

/// As many requests for the dead name as come in a few seconds, and more than the threads
/// of a pool that blocks one for each of them.
const REQUESTS: usize = 600;

async fn statuses(requests: JoinSet<u16>) -> Vec<u16> {
    requests.join_all().await
}

#[tokio::test]
async fn a_dead_dns_fails_only_its_own_name_and_by_fail() {
    let Some(dns) = Dns::silent() else {
        return skipped("a server of DNS and a mount namespace take root");
    };
    let backend = Backend::http().await;
    let public = listening("").await;
    let services = format!(
        "--service {NAME}=localhost:{} --service {DEAD}=dead.backend.example:80",
        backend.addr().port()
    );
    let behind: Peer = dns
        .launch(BINARY)
        .args(&format!("run --connect {} {services}", public.listen()))
        .peer()
        .await;
    public.serves(&[NAME, DEAD]).await;
    let addr = public.listen();

    // 134 a second.
    let mut pace = interval(Duration::from_micros(7_460));
    let mut dead = JoinSet::new();
    for _ in 0..REQUESTS {
        pace.tick().await;
        dead.spawn(async move { client::get(addr, "/", DEAD).await.status });
    }
    let mut alive = JoinSet::new();
    for _ in 0..100 {
        pace.tick().await;
        alive.spawn(async move { client::get(addr, "/", NAME).await.status });
    }
    assert_eq!(statuses(alive).await, [200; 100]);
    let threads = behind.threads();
    assert_eq!(statuses(dead).await, [502; REQUESTS]);

    assert!(threads < 100, "{threads} threads wait for DNS");
    let metrics = public.quiet().await;
    let failed =
        |name: &str| metrics.value("ops_proxy_forwards_failed_total", &[("client_name", name)]);
    assert_eq!((failed(DEAD), failed(NAME)), (REQUESTS as f64, 0.0));
    let late = [("client_name", DEAD), ("reason", "backend_timeout")];
    assert!(metrics.value("ops_proxy_forwards_failed_total", &late) > 0.0);
    let timed_out = [("client_name", DEAD), ("reason", "data_timeout")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &timed_out), 0.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_timeout_total", &[]), 0.0);
}
