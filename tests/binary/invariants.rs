//! What holds at every moment, however requests end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::{NAME, connecting, listening};

const REQUESTS: usize = 50;
const ROUNDS: usize = 8;
const NAMES: [&str; 3] = [NAME, "local.example", "dead.example"];

/// total = success + failed + active, for each name and in each way of counting.
fn assert_balanced(metrics: &Metrics) {
    for name in NAMES {
        let of_name = |family: &str| metrics.value(family, &[("client_name", name)]);
        let total = of_name("ops_proxy_requests_total");
        let failed = of_name("ops_proxy_requests_failed_total");
        let ended = of_name("ops_proxy_requests_success_total") + failed;
        assert_eq!(total, ended + of_name("ops_proxy_connections_active"), "{name}");
        assert_eq!(total, of_name("ops_proxy_connections_total"), "{name}");
        assert_eq!(failed, of_name("ops_proxy_connections_failed_total"), "{name}");
        assert_eq!(failed, of_name("ops_proxy_proxy_errors_total"), "{name}: one error for each");
    }
}

/// One request that ends in a way of its own.
async fn request(to: std::net::SocketAddr, way: usize) {
    let name = NAMES[way % NAMES.len()];
    let mut stream = connect(to).await;
    let head = client::get_request("/chunked/100000", name);
    stream.write_all(head.as_bytes()).await.unwrap();
    match way % 5 {
        0 => backend::reset(stream),
        1 => drop(stream),
        2 => {
            // Leaves in the middle of the answer.
            let _ = stream.read(&mut [0; 100]).await;
            backend::reset(stream);
        }
        _ => {
            client::to_end(&mut stream).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counters_balance_at_every_scrape_while_requests_run_and_break() {
    let backend = Backend::http().await;
    let (_socket, refusing) = backend::refusing();
    let services =
        format!("--service local.example={} --service dead.example={refusing}", backend.addr());
    let public = listening(&services).await;
    let behind = connecting(public.listen(), &format!("--service {NAME}={}", backend.addr())).await;
    public.serves(&NAMES).await;

    let to = public.listen();
    let done = Arc::new(AtomicBool::new(false));
    let all_done = Arc::clone(&done);
    let load = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let requests: JoinSet<()> = (0..REQUESTS).map(|n| request(to, round + n)).collect();
            within("fifty requests", requests.join_all()).await;
        }
        all_done.store(true, Ordering::Relaxed);
    });
    let mut scrapes = 0;
    while !done.load(Ordering::Relaxed) {
        assert_balanced(&public.metrics().await);
        scrapes += 1;
    }
    load.await.unwrap();
    assert!(scrapes >= ROUNDS, "{scrapes} scrapes saw nothing");

    let metrics = public.quiet().await;
    assert_balanced(&metrics);
    let total = metrics.value("ops_proxy_requests_total", &[]);
    assert_eq!(total, (REQUESTS * ROUNDS) as f64);
    let success = metrics.value("ops_proxy_requests_success_total", &[]);
    assert!(success > 0.0 && success < total, "{success} of {total}: the ways to end differ");
    // Each FORWARD has come to exactly one end.
    let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
    assert_eq!(
        of_name("ops_proxy_forward_commands_total"),
        of_name("ops_proxy_data_connections_matched_total")
            + of_name("ops_proxy_data_connections_timeout_total")
            + of_name("ops_proxy_forwards_failed_total")
    );
    behind
        .until("no forward on the connecting side", |metrics| {
            metrics.value("ops_proxy_client_active_forwards", &[]) == 0.0
        })
        .await;
}
