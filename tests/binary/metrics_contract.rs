//! Every family of the metrics document is exported as it says, once what it
//! counts has happened.

use std::collections::{BTreeMap, BTreeSet};

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::datagrams::{self, Echo};
use ops_proxy_tests::hello;
use ops_proxy_tests::link::{self, Link};
use ops_proxy_tests::process::Peer;
use tokio::io::AsyncWriteExt;

use crate::{NAME, launch, listening};

/// Name, labels and type, word for word from the metrics document.
const DOCUMENT: &str = "\
- **`ops_proxy_server_info{node,pod}`** (gauge)
- **`ops_proxy_clients_total{node,pod}`** (gauge)
- **`ops_proxy_clients_connected{node,pod}`** (gauge)
- **`ops_proxy_client_info{node,pod}`** (gauge)
- **`ops_proxy_client_up{client_name,node,pod}`** (gauge)
- **`ops_proxy_client_registrations_total{client_name,node,pod}`** (counter)
- **`ops_proxy_client_disconnects_total{client_name,node,pod}`** (counter)
- **`ops_proxy_connections_total{client_name,node,pod}`** (counter)
- **`ops_proxy_connections_active{client_name,node,pod}`** (gauge)
- **`ops_proxy_connections_failed_total{client_name,node,pod}`** (counter)
- **`ops_proxy_connections_bytes_tx_total{client_name,node,pod}`** (counter)
- **`ops_proxy_connections_bytes_rx_total{client_name,node,pod}`** (counter)
- **`ops_proxy_requests_total{client_name,protocol,node,pod}`** (counter)
- **`ops_proxy_requests_success_total{client_name,protocol,node,pod}`** (counter)
- **`ops_proxy_requests_failed_total{client_name,protocol,node,pod}`** (counter)
- **`ops_proxy_latency_seconds{client_name,protocol,node,pod}`** (gauge)
- **`ops_proxy_forward_commands_total{client_name,node,pod}`** (counter)
- **`ops_proxy_data_connections_matched_total{client_name,node,pod}`** (counter)
- **`ops_proxy_data_connections_timeout_total{client_name,node,pod}`** (counter)
- **`ops_proxy_data_connections_unexpected_total{node,pod}`** (counter)
- **`ops_proxy_pending_data_connections{node,pod}`** (gauge)
- **`ops_proxy_proxy_errors_total{client_name,reason,node,pod}`** (counter)
";

/// The name of a connecting peer that is played by hand.
const BY_HAND: &str = "by-hand.example";

/// Type and labels by family.
type Contract = BTreeMap<String, (String, BTreeSet<String>)>;

fn contract() -> Contract {
    let families = DOCUMENT.lines().map(|line| {
        let (name, rest) = line.strip_prefix("- **`").unwrap().split_once('{').unwrap();
        let (labels, kind) = rest.split_once("}`** (").unwrap();
        let labels = labels.split(',').map(str::to_owned).collect();
        (name.to_owned(), (kind.trim_end_matches(')').to_owned(), labels))
    });
    families.collect()
}

/// Serves one request of the peer by hand, and cuts it in the middle.
async fn break_stream(public: &Peer, peer: &mut Link) {
    let mut client = connect(public.listen()).await;
    client.write_all(client::get_request("/", BY_HAND).as_bytes()).await.unwrap();
    let id = peer.forward().await.proxy_id;
    let mut data = link::data(connect(public.listen()).await, &id).await;
    data.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    client::head(&mut client).await;
    backend::reset(data);
    client::to_end(&mut client).await.unwrap_err();
}

/// Makes everything happen that the document counts.
async fn drive(public: &Peer) {
    // By Host, CONNECT, SNI and ports, and to names nobody serves.
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    assert_eq!(client::get(public.listen(), "/", "nobody.example").await.status, 404);
    let hello = hello::first_bytes(NAME);
    for (to, bytes) in
        [(public.listen(), hello), (public.tcp()[0], b"GET / HTTP/1.0\r\n\r\n".to_vec())]
    {
        let mut stream = connect(to).await;
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        client::to_end(&mut stream).await.unwrap();
    }
    let datagrams = datagrams::client(public.udp()[0]).await;
    assert_eq!(datagrams::exchange(&datagrams, b"hello").await, b"hello");
    assert_eq!(client::get(public.listen(), "/", "dead.example").await.status, 502);

    let mut peer = Link::register(public.listen(), "by-hand", &[BY_HAND]).await;
    break_stream(public, &mut peer).await;
    // A FORWARD that is ignored, and DATA that comes when its id is gone.
    let late = tokio::spawn(client_get(public.listen()));
    let id = peer.forward().await.proxy_id;
    assert_eq!(late.await.unwrap(), 504);
    let mut unexpected = link::data(connect(public.listen()).await, &id).await;
    client::to_end(&mut unexpected).await.unwrap_or_default();
    drop(peer);
    public
        .until("the link's end", |metrics| {
            metrics.value("ops_proxy_client_up", &[("client_name", BY_HAND)]) == 0.0
        })
        .await;
    assert_eq!(client_get(public.listen()).await, 503);
}

async fn client_get(to: std::net::SocketAddr) -> u16 {
    client::get(to, "/", BY_HAND).await.status
}

#[tokio::test]
async fn every_family_has_the_type_and_labels_of_the_document() {
    let backend = Backend::http().await;
    let echo = Echo::start().await;
    let (_socket, refusing) = backend::refusing();
    let upstream = listening("").await;
    let public = launch()
        .args(&format!("run --listen 127.0.0.1:0 --connect {}", upstream.listen()))
        .args(&format!("--tcp 127.0.0.1:0={NAME} --data-timeout 200ms"))
        .args(&format!("--udp 127.0.0.1:0={NAME} --udp-idle 200ms"))
        .args(&format!("--service {NAME}/udp={}", echo.addr()))
        .args(&format!("--service {NAME}={} --service dead.example={refusing}", backend.addr()))
        .peer()
        .await;
    drive(&public).await;

    let metrics = public.quiet().await;
    for (name, (kind, labels)) in contract() {
        let family = metrics.families().get(&name);
        let family = family.unwrap_or_else(|| panic!("{name} is not exported"));
        assert_eq!(family.kind, kind, "{name}");
        for (sample, found) in family.samples.keys() {
            assert_eq!(*sample, name);
            assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), labels, "{name}");
        }
    }
    let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect::<BTreeSet<_>>();
    let protocols = metrics.label_values("ops_proxy_requests_total", "protocol");
    assert_eq!(protocols, words(&["http", "https", "tcp", "udp"]));
    let reasons = metrics.label_values("ops_proxy_proxy_errors_total", "reason");
    let happened = ["no_client", "data_timeout", "data_io_error", "backend_unreachable"];
    assert_eq!(reasons, words(&happened));
    let names = metrics.label_values("ops_proxy_proxy_errors_total", "client_name");
    assert_eq!(names, words(&["_other", BY_HAND, "dead.example"]));
    for (name, family) in metrics.families() {
        assert!(name.starts_with("ops_proxy_") || name.starts_with("process_"), "{name}");
        let no_id = |(_, labels): &(String, BTreeMap<_, _>)| !labels.contains_key("proxy_id");
        assert!(family.samples.keys().all(no_id), "{name}");
    }
}

#[tokio::test]
async fn latency_is_the_time_to_the_first_byte_of_the_backend() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let labels = [("client_name", NAME), ("protocol", "http")];
    assert!(!public.metrics().await.families().contains_key("ops_proxy_latency_seconds"));
    client::get(public.listen(), "/", NAME).await;
    let latency = public.quiet().await.value("ops_proxy_latency_seconds", &labels);
    assert!(latency > 0.0 && latency < 60.0, "{latency}");
}

/// A peer that only listens, or only connects, does not speak of the other job.
#[tokio::test]
async fn a_family_without_meaning_for_a_peer_is_absent() {
    let public = listening("").await;
    let service = format!("--service {NAME}=127.0.0.1:1");
    let behind = crate::connecting(public.listen(), &service).await;
    let has = |metrics: &ops_proxy_tests::metrics::Metrics, family: &str| {
        metrics.families().contains_key(family)
    };
    let metrics = public.metrics().await;
    assert!(has(&metrics, "ops_proxy_server_info") && !has(&metrics, "ops_proxy_client_info"));
    let metrics = behind.metrics().await;
    assert!(has(&metrics, "ops_proxy_client_info") && !has(&metrics, "ops_proxy_server_info"));
}
