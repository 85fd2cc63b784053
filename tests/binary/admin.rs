//! The admin pages.

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client;
use ops_proxy_tests::process::{NODE, POD};
use ops_proxy_tests::wait::until;

use crate::{NAME, connecting, launch, listening};

#[tokio::test]
async fn a_listening_peer_is_healthy_and_ready() {
    let public = listening("").await;
    assert_eq!(public.page("/healthz").await.status, 200);
    assert_eq!(public.page("/readyz").await.status, 200);
    assert_eq!(public.page("/nothing").await.status, 404);
    let post =
        b"POST /metrics HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(client::exchange(public.admin(), post).await.status, 405);
}

#[tokio::test]
async fn a_connecting_peer_is_ready_once_its_names_are_registered() {
    let (_socket, nobody) = backend::refusing();
    let service = format!("--service {NAME}=127.0.0.1:1");
    let lonely = connecting(nobody, &service).await;
    assert_eq!(lonely.page("/healthz").await.status, 200);
    assert_eq!(lonely.page("/readyz").await.status, 503);

    let public = listening("").await;
    let behind = connecting(public.listen(), &service).await;
    until("the connecting peer to be ready", async || {
        (behind.page("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_carry_the_node_and_the_pod_of_their_peer() {
    let public = listening("").await;
    let answer = public.page("/metrics").await;
    assert_eq!(answer.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let metrics = public.metrics().await;
    let labels = [("node", NODE), ("pod", POD)];
    assert_eq!(metrics.value("ops_proxy_server_info", &labels), 1.0);
    for (name, family) in metrics.families() {
        for (_, labels) in family.samples.keys() {
            assert_eq!(labels.get("node").map(String::as_str), Some(NODE), "{name}");
            assert_eq!(labels.get("pod").map(String::as_str), Some(POD), "{name}");
        }
    }
}

#[tokio::test]
async fn a_label_value_is_escaped() {
    let node = "a \"quoted\" \\ back\nslash";
    let launch = launch().env("NODE_NAME", node).args("run --listen 127.0.0.1:0");
    let public = launch.peer().await;
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_server_info", &[("node", node)]), 1.0);
}

#[tokio::test]
async fn the_status_page_shows_names_and_who_serves_them() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service local.example={}", backend.addr())).await;
    let service = format!("--service {NAME}={} --peer-id beside-it", backend.addr());
    let behind = connecting(public.listen(), &service).await;
    public.serves(&["local.example", NAME]).await;
    let page = public.page("/").await;
    assert_eq!(page.status, 200);
    assert!(page.field("content-type").starts_with("text/html"));
    for shown in [NAME, "local.example", "beside-it"] {
        assert!(page.text().contains(shown), "{shown} is not on the page");
    }
    let page = behind.page("/").await.text();
    assert!(page.contains(&public.listen().to_string()), "the upstream is not on the page");
}
