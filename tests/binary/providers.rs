//! Names with several providers, peers with many names, names without anybody.

use std::fmt::Write;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client;
use ops_proxy_tests::link::Link;

use crate::{NAME, connecting, launch, listening};

#[tokio::test]
async fn a_provider_whose_backend_refuses_is_replaced_by_another_unnoticed() {
    let (_socket, refusing) = backend::refusing();
    let backend = Backend::http().await;
    let public = listening("").await;
    // The first to register is the first to be asked.
    let _broken = connecting(public.listen(), &format!("--service {NAME}={refusing}")).await;
    public.serves(&[NAME]).await;
    let _sound = connecting(public.listen(), &format!("--service {NAME}={}", backend.addr())).await;
    public.until("two links", |metrics| metrics.value("ops_proxy_links", &[]) == 2.0).await;
    public
        .until("both registrations", |metrics| {
            metrics.value("ops_proxy_client_registrations_total", &[]) >= 2.0
        })
        .await;

    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    let metrics = public.quiet().await;
    let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
    assert_eq!(of_name("ops_proxy_requests_total"), 1.0);
    assert_eq!(of_name("ops_proxy_requests_success_total"), 1.0);
    assert_eq!(of_name("ops_proxy_forward_commands_total"), 2.0);
    assert_eq!(of_name("ops_proxy_data_connections_matched_total"), 1.0);
    assert_eq!(of_name("ops_proxy_proxy_errors_total"), 0.0);
}

#[tokio::test]
async fn a_name_stays_up_until_its_last_provider_leaves() {
    let public = listening("").await;
    let first = Link::register(public.listen(), "first", &[NAME]).await;
    let second = Link::register(public.listen(), "second", &[NAME]).await;
    let up = |gone: f64, up: f64| {
        move |metrics: &ops_proxy_tests::metrics::Metrics| {
            let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
            of_name("ops_proxy_client_disconnects_total") == gone
                && of_name("ops_proxy_client_up") == up
        }
    };
    drop(first);
    public.until("one provider to be left", up(1.0, 1.0)).await;
    drop(second);
    public.until("no provider to be left", up(2.0, 0.0)).await;
}

#[tokio::test]
async fn a_peer_with_two_thousand_names_registers_and_withdraws_them_all() {
    const NAMES: usize = 2000;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut services = String::new();
    for n in 0..NAMES {
        write!(services, "'name-{n}.example=127.0.0.1:1',").unwrap();
    }
    std::io::Write::write_all(&mut file, format!("service = [{services}]").as_bytes()).unwrap();
    let public = listening("").await;
    let config = format!("--drain-grace 10ms --config {}", file.path().to_str().unwrap());
    let mut behind = connecting(public.listen(), &config).await;
    public
        .until("all names", |metrics| {
            metrics.value("ops_proxy_clients_connected", &[]) == NAMES as f64
        })
        .await;
    behind.terminate();
    assert_eq!(behind.exit_code().await, 0);
    public.serves(&[]).await;
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[]), NAMES as f64);
    assert_eq!(metrics.value("ops_proxy_clients_total", &[]), NAMES as f64);
}

#[tokio::test]
async fn a_name_that_nobody_serves_is_forgotten_after_its_retention() {
    let launch = launch().args("run --listen 127.0.0.1:0 --name-retention 100ms");
    let public = launch.peer().await;
    drop(Link::register(public.listen(), "by-hand", &[NAME]).await);
    public
        .until("the name to be forgotten", |metrics| {
            metrics.value("ops_proxy_clients_total", &[]) == 0.0
        })
        .await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 404);
    let metrics = public.metrics().await;
    assert!(metrics.label_values("ops_proxy_client_up", "client_name").is_empty());
}
