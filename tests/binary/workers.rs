//! Connections are spread over threads, and each stays on one.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{connect, next_answer};
use tokio::io::AsyncWriteExt;

use crate::{NAME, launch};

/// So many clients at a time, each with so many requests, for two names in turns.
const CLIENTS: usize = 60;
const REQUESTS: usize = 6;

#[tokio::test]
async fn every_worker_takes_its_share_and_each_request_is_answered() {
    let backend = Backend::http().await;
    let hub = launch().args("run --listen 127.0.0.1:0 --peer-id hub --workers 3").peer().await;
    let names = [NAME, "other.example"];
    let services = names.map(|name| format!("--service {name}={}", backend.addr())).join(" ");
    let site = format!("run --connect {} --peer-id site --workers 5 {services}", hub.listen());
    let site = launch().args(&site).peer().await;
    hub.serves(&names).await;
    assert_eq!(hub.workers().len(), 3);
    let before = site.workers();
    assert_eq!(before.len(), 5);
    let before = [hub.workers(), before];

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(hub.listen()).await);
    }
    for n in 0..REQUESTS {
        // All at once: so some take DATA connections that were used on other workers.
        for (client, stream) in clients.iter_mut().enumerate() {
            let host = names[(client + n) % 2];
            let request = format!("GET /{client}/{n} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        for (client, stream) in clients.iter_mut().enumerate() {
            let host = names[(client + n) % 2];
            assert_eq!(next_answer(stream).await.text(), format!("GET /{client}/{n}\n{host}\n"));
        }
    }

    for (peer, before) in [&hub, &site].into_iter().zip(before) {
        for (after, before) in peer.workers().into_iter().zip(before) {
            // Each waits for each of its connections at least once.
            assert!(after > before + 5, "a worker of {peer:?} has had nothing to do");
        }
    }
    drop(clients);
    let metrics = hub.quiet().await;
    for name in names {
        let total = metrics.value("ops_proxy_http_requests_total", &[("client_name", name)]);
        assert_eq!(total, (CLIENTS * REQUESTS / 2) as f64);
        let active = metrics.value("ops_proxy_active_requests", &[("client_name", name)]);
        assert_eq!(active, 0.0);
    }
}
