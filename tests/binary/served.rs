//! What the connecting side tells of each of its services, by who asked.

use std::collections::BTreeSet;
use std::fs;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, assert_carries, stream_to};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::Peer;

use crate::{NAME, connecting, listening};

const DEAD: &str = "dead.example";

/// The families in which a name and an upstream have a series each.
const FAMILIES: [&str; 5] = [
    "ops_proxy_client_requests_total",
    "ops_proxy_client_requests_failed_total",
    "ops_proxy_client_requests_active",
    "ops_proxy_client_bytes_tx_total",
    "ops_proxy_client_bytes_rx_total",
];

fn served(metrics: &Metrics, name: &str, hub: &Peer) -> [f64; FAMILIES.len()] {
    let labels = [("client_name", name), ("upstream", &*hub.listen().to_string())];
    FAMILIES.map(|family| metrics.value(family, &labels))
}

/// What a listening peer has sent through the tunnel for a name, and got.
async fn bytes(hub: &Peer, name: &str) -> [f64; 2] {
    let metrics = hub.quiet().await;
    ["ops_proxy_connections_bytes_tx_total", "ops_proxy_connections_bytes_rx_total"]
        .map(|family| metrics.value(family, &[("client_name", name)]))
}

#[tokio::test]
async fn each_name_is_counted_for_each_listening_peer_that_asks() {
    let (http, (_socket, refusing)) = (Backend::http().await, backend::refusing());
    let (one, two) = (listening("").await, listening("").await);
    let services = format!("--service {NAME}={} --service {DEAD}={refusing}", http.addr());
    let args = format!("--connect {} {services}", two.listen());
    let site = connecting(one.listen(), &args).await;
    for hub in [&one, &two] {
        hub.serves(&[NAME, DEAD]).await;
    }
    // None before anything was asked for.
    let families = site.metrics().await.families().clone();
    assert!(FAMILIES.iter().all(|family| !families.contains_key(*family)));
    for (hub, name, status) in
        [(&one, NAME, 200), (&one, NAME, 200), (&two, NAME, 200), (&two, DEAD, 502)]
    {
        assert_eq!(client::get(hub.listen(), "/", name).await.status, status);
    }
    let ended = site
        .until("all requests to end", |metrics| {
            let active = metrics.value("ops_proxy_client_requests_active", &[]);
            metrics.value("ops_proxy_client_forwards_total", &[]) == 4.0 && active == 0.0
        })
        .await;
    for (hub, total) in [(&one, 2.0), (&two, 1.0)] {
        let [sent, received] = bytes(hub, NAME).await;
        assert!(sent > 0.0 && received > 0.0);
        assert_eq!(served(&ended, NAME, hub), [total, 0.0, 0.0, sent, received]);
    }
    assert_eq!(served(&ended, DEAD, &two), [1.0, 1.0, 0.0, 0.0, 0.0]);
    let pairs = ended.label_values("ops_proxy_client_requests_total", "client_name");
    assert_eq!(pairs, BTreeSet::from([NAME.to_owned(), DEAD.to_owned()]));
}

#[tokio::test]
async fn what_runs_is_counted_while_it_runs_and_a_service_that_is_gone_no_longer() {
    let (echo, directory) = (Backend::echo().await, tempfile::tempdir().unwrap());
    let file = directory.path().join("site.toml");
    let services = |names: &[&str]| {
        let services = names.iter().map(|name| format!("'{name}/connect={}'", echo.addr()));
        let services = services.collect::<Vec<_>>().join(", ");
        fs::write(&file, format!("service = [{services}]\n")).unwrap();
    };
    services(&[NAME, "other.example"]);
    let hub = listening("").await;
    let mut site = connecting(hub.listen(), &format!("--config {}", file.display())).await;
    hub.serves(&[NAME, "other.example"]).await;
    let mut stream = stream_to(hub.listen(), NAME).await;
    let _other = stream_to(hub.listen(), "other.example").await;
    assert_carries(&mut stream).await;
    let running = site.metrics().await;
    let [total, failed, active, sent, received] = served(&running, NAME, &hub);
    assert_eq!([total, failed, active], [1.0, 0.0, 1.0]);
    assert!(sent > 0.0 && sent == received, "{sent} bytes sent, {received} received");
    services(&["other.example"]);
    site.process().hang_up();
    hub.serves(&["other.example"]).await;
    let names =
        |metrics: &Metrics| metrics.label_values("ops_proxy_client_requests_total", "client_name");
    let only = BTreeSet::from(["other.example".to_owned()]);
    site.until("the series of the service to go", |metrics| names(metrics) == only).await;
    // It goes on all the same.
    assert_carries(&mut stream).await;
}
