//! Checks of backends: a service that fails them is withdrawn and comes back by itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::hello;
use ops_proxy_tests::link::Link;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::wait::until;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{NAME, connecting, listening};

const UP: &str = "ops_proxy_backend_up";
const CHECKS: &str = "ops_proxy_backend_checks_total";

/// A backend whose answers have a status that a test sets.
struct Moody {
    backend: Backend,
    status: Arc<AtomicU16>,
    /// The head of the last check.
    checked: Arc<Mutex<String>>,
}

impl Moody {
    async fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let checked = Arc::new(Mutex::new(String::new()));
        let (answers, heads) = (status.clone(), checked.clone());
        let backend = Backend::start(move |mut stream| {
            let (answers, heads) = (answers.clone(), heads.clone());
            async move {
                let head = String::from_utf8(client::raw_head(&mut stream).await).unwrap();
                let mut hints = "";
                if head.starts_with("GET /healthz ") {
                    *heads.lock().unwrap() = head;
                    hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
                }
                let status = answers.load(Ordering::Relaxed);
                let answer = format!(
                    "{hints}HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                // Who leaves before the answer is not the backend's business.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { backend: backend.await, status, checked }
    }

    fn becomes(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// A file with one service.
fn service(table: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("site.toml");
    std::fs::write(&file, format!("[[service]]\nname = '{NAME}'\n{table}\n")).unwrap();
    (directory, format!("--config {}", file.display()))
}

/// A service with a backend, and how it is checked.
fn checked(backend: SocketAddr, health: &str) -> (TempDir, String) {
    service(&format!("backend = '{backend}'\nhealth = {{ {health}, every = '1s' }}"))
}

async fn is_up(peer: &Peer, up: bool) -> Metrics {
    let value = f64::from(u8::from(up));
    let what = format!("{UP} to be {value}");
    peer.until(&what, |metrics| metrics.value(UP, &[("client_name", NAME)]) == value).await
}

async fn connected(hub: &Peer, names: f64) -> Metrics {
    let what = format!("{names} names");
    hub.until(&what, |m| m.value("ops_proxy_clients_connected", &[]) == names).await
}

fn checks(metrics: &Metrics, result: &str) -> f64 {
    metrics.value(CHECKS, &[("client_name", NAME), ("result", result)])
}

/// How often the log says so.
fn said(peer: &Peer, message: &str) -> Vec<Event> {
    peer.events().into_iter().filter(|event| event.message().starts_with(message)).collect()
}

#[tokio::test]
async fn a_service_that_fails_its_checks_is_withdrawn_and_comes_back() {
    let moody = Moody::new().await;
    let health = "http = '/healthz', fall = 2, rise = 2";
    let (_directory, config) = checked(moody.backend.addr(), health);
    for local in [true, false] {
        let hub = listening(if local { &config } else { "" }).await;
        let site = match local {
            true => None,
            false => Some(connecting(hub.listen(), &config).await),
        };
        let site = site.as_ref().unwrap_or(&hub);
        hub.serves(&[NAME]).await;
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
        let (running, forwards) = (hub.quiet().await, "ops_proxy_forward_commands_total");

        moody.becomes(500);
        is_up(site, false).await;
        connected(&hub, 0.0).await;
        let refused = client::get(hub.listen(), "/", NAME).await;
        assert_eq!((refused.status, refused.field("retry-after")), (503, "2"), "local: {local}");
        assert!(refused.text().contains("fails its health checks"), "{}", refused.text());
        let metrics = hub.metrics().await;
        let app = [("client_name", NAME)];
        assert_eq!(metrics.value(forwards, &app), running.value(forwards, &app));
        let no_client = [("client_name", NAME), ("reason", "no_client")];
        assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &no_client), 1.0);
        assert_eq!(metrics.value("ops_proxy_connections_total", &app), 1.0, "no check is one");
        assert!(checks(&site.metrics().await, "status") >= 2.0);
        let why = format!("{} answered with status 500, not 2xx", moody.backend.addr());
        let page = site.page("/").await.text();
        let last = format!("last failure: {why}");
        assert!(page.contains("checks: <span class=\"down\">") && page.contains(&last), "{page}");
        let down = said(site, "backend is down");
        assert_eq!(down.len(), 1);
        assert_eq!((down[0].field("name"), down[0].field("reason")), (NAME, why.as_str()));
        assert_eq!(site.page("/readyz").await.status, 200);

        moody.becomes(204);
        is_up(site, true).await;
        hub.serves(&[NAME]).await;
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 204);
        assert_eq!(said(site, "backend is up again").len(), 1);
        let page = site.page("/").await.text();
        assert!(page.contains("checks: <span class=\"up\">") && page.contains(&last), "{page}");
        assert_eq!(
            *moody.checked.lock().unwrap(),
            format!(
                "GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: ops-proxy-health\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n"
            )
        );
        moody.becomes(200);
    }
}

/// It is not registered, but known: clients come back rather than believe that there is no
/// such name.
#[tokio::test]
async fn a_backend_that_is_down_from_the_start_is_waited_for() {
    let (socket, addr) = backend::refusing();
    let hub = listening(&format!("--tcp 127.0.0.1:0={NAME}")).await;
    let (_directory, config) = checked(addr, "tcp = true, rise = 1");
    let site = connecting(hub.listen(), &format!("{config} --heartbeat 100ms")).await;
    let metrics = is_up(&site, false).await;
    assert!(checks(&metrics, "refused") >= 1.0);
    let answer = until("the name to be known as unhealthy", async || {
        let answer = client::get(hub.listen(), "/", NAME).await;
        (answer.text().contains("health checks")).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, "1"));
    site.until("the link", |metrics| metrics.value("ops_proxy_client_link_up", &[]) == 1.0).await;

    let mut tls = connect(hub.listen()).await;
    tls.write_all(&hello::first_bytes(NAME)).await.unwrap();
    let mut alert = [0; 7];
    tls.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert, [0x15, 3, 3, 0, 2, 2, 80], "internal_error");
    let connect_request = client::connect_request(NAME);
    assert_eq!(client::exchange(hub.listen(), connect_request.as_bytes()).await.status, 503);
    // It is reset at once, before or after we see that it was accepted.
    if let Ok(mut tcp) = TcpStream::connect(hub.tcp()[0]).await {
        client::to_end(&mut tcp).await.unwrap_err();
    }

    let listener = socket.listen(16).unwrap();
    hub.serves(&[NAME]).await;
    let metrics = is_up(&site, true).await;
    assert!(checks(&metrics, "ok") >= 1.0);
    drop(listener);
}

#[tokio::test]
async fn every_backend_of_a_service_must_pass_and_learns_that_no_client_connects() {
    let clear = Backend::http().await;
    let (secure, addr) = backend::listener().await;
    let (_directory, config) = service(&format!(
        "backend = '{}'\nhttps = '{addr}'\nproxy_protocol = 'v2'\n\
         health = {{ tcp = true, every = '1s', fall = 1, rise = 1 }}",
        clear.addr()
    ));
    let hub = listening(&config).await;
    let mut check = backend::accept(&secure).await;
    let mut header = Vec::new();
    check.read_to_end(&mut header).await.unwrap();
    assert_eq!(header, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "LOCAL");
    hub.serves(&[NAME]).await;
    drop(secure);
    is_up(&hub, false).await;
    connected(&hub, 0.0).await;
    let down = &said(&hub, "backend is down")[0];
    assert!(down.field("reason").contains(&addr.to_string()), "{}", down.field("reason"));
}

#[tokio::test]
async fn a_backend_that_accepts_and_does_not_answer_has_failed() {
    let (listener, addr) = backend::listener().await;
    let health = "http = '/', timeout = '100ms', fall = 1";
    let (_directory, config) = checked(addr, health);
    let hub = listening(&config).await;
    let metrics = is_up(&hub, false).await;
    assert!(checks(&metrics, "timeout") >= 1.0);
    let reason = said(&hub, "backend is down")[0].field("reason").to_owned();
    assert_eq!(reason, format!("{addr} did not answer within 100ms"));
    drop(listener);
}

/// The last provider's reason counts, and is forgotten with its link.
#[tokio::test]
async fn clients_learn_when_a_name_may_be_back() {
    let hub = listening("").await;
    let mut link = Link::register(hub.listen(), "by-hand", &[NAME]).await;
    let retry_after = async || {
        let answer = client::get(hub.listen(), "/", NAME).await;
        assert_eq!(answer.status, 503);
        answer.field("retry-after").to_owned()
    };
    link.send(&format!("UNREGISTER:{NAME};unhealthy=40,other.example;unhealthy=9")).await;
    assert_eq!(link.line().await, "OK:1");
    assert_eq!(retry_after().await, "40");
    assert_eq!(client::get(hub.listen(), "/", "other.example").await.field("retry-after"), "9");
    link.send(&format!("UNREGISTER:{NAME}")).await;
    assert_eq!(link.line().await, "OK:0");
    assert_eq!(retry_after().await, "5", "it is withdrawn for another reason now");
    link.send(&format!("UNREGISTER:{NAME};unhealthy=40")).await;
    assert_eq!(link.line().await, "OK:0");
    assert_eq!(retry_after().await, "40");
    let mut other = Link::register(hub.listen(), "other", &[NAME]).await;
    other.send(&format!("UNREGISTER:{NAME};unhealthy=20")).await;
    assert_eq!(other.line().await, "OK:1");
    assert_eq!(retry_after().await, "20", "whoever may be back first");
    drop((link, other));
    hub.until("no link", |metrics| metrics.value("ops_proxy_links", &[]) == 0.0).await;
    assert_eq!(retry_after().await, "5");
    assert_eq!(client::get(hub.listen(), "/", "other.example").await.status, 404);
}
