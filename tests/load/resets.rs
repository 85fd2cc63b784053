//! Clients of which one in twenty resets its connection, and what is counted meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect, get_request};
use ops_proxy_tests::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{NAME, connecting, listening};

const SCRAPES: usize = if cfg!(debug_assertions) { 2_000 } else { 20_000 };

/// Clients that ask at the same time.
const CLIENTS: usize = 16;

/// One in so many requests is reset.
const ONE_IN: usize = 20;

/// How a client leaves that does not wait for its whole answer.
async fn leave(to: SocketAddr, way: usize) {
    let mut stream = connect(to).await;
    stream.write_all(get_request("/chunked/1000000", NAME).as_bytes()).await.unwrap();
    match way % 3 {
        0 => {}
        1 => sleep(Duration::from_millis(1)).await,
        _ => {
            stream.read_u8().await.unwrap();
        }
    }
    backend::reset(stream);
}

/// Asks over and over until `done`; returns how many requests that were.
async fn ask(to: SocketAddr, done: Arc<AtomicBool>, first: usize) -> usize {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        count += 1;
        let number = first + count;
        if number.is_multiple_of(ONE_IN) {
            leave(to, number / ONE_IN).await;
        } else {
            assert_eq!(client::get(to, "/", NAME).await.status, 200);
        }
    }
    count
}

fn assert_balanced(metrics: &Metrics, scrape: usize) {
    let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
    let ended =
        of_name("ops_proxy_requests_success_total") + of_name("ops_proxy_requests_failed_total");
    let requests = of_name("ops_proxy_requests_total");
    assert_eq!(requests, ended + of_name("ops_proxy_connections_active"), "scrape {scrape}");
    let forwards = of_name("ops_proxy_data_connections_matched_total")
        + of_name("ops_proxy_data_connections_timeout_total")
        + of_name("ops_proxy_forwards_failed_total")
        + metrics.value("ops_proxy_pending_data_connections", &[]);
    assert_eq!(of_name("ops_proxy_forward_commands_total"), forwards, "scrape {scrape}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_balance_in_every_scrape_and_idle_connections_serve_beside_resets() {
    let backend = Backend::http().await;
    let public = listening("").await;
    let service = format!("--service {NAME}={}", backend.addr());
    let _behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;

    let done = Arc::new(AtomicBool::new(false));
    let to = public.listen();
    let clients: JoinSet<usize> =
        (0..CLIENTS).map(|client| ask(to, done.clone(), client * 7)).collect();
    for scrape in 0..SCRAPES {
        assert_balanced(&public.metrics().await, scrape);
    }
    done.store(true, Ordering::Relaxed);
    let asked: usize = clients.join_all().await.into_iter().sum();
    let metrics = public.quiet().await;
    assert_balanced(&metrics, SCRAPES);
    let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
    // One that was reset at once may never have been routed.
    let requests = of_name("ops_proxy_requests_total");
    assert!(requests <= asked as f64 && requests >= 0.94 * asked as f64, "{requests} of {asked}");
    let resets = of_name("ops_proxy_requests_failed_total");
    assert!(resets > 0.02 * requests, "{resets} of {requests} were reset");
    let answered = metrics.value("ops_proxy_idle_data_forwards_total", &[("result", "answered")]);
    assert!(answered > 0.9 * requests, "{answered} of {requests} on idle DATA connections");
}
