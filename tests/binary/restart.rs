//! Peers that restart: what clients see meanwhile.

use std::net::SocketAddr;
use std::path::Path;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::visitors::Visitors;
use ops_proxy_tests::wait::{until, within};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::{NAME, connecting, launch, listening};

const EXPECTED: &str = "ops_proxy_names_expected";

async fn hub(listen: &str, state: &Path, args: &str) -> Peer {
    let state = state.display();
    launch().args(&format!("run --listen {listen} --state-dir {state} {args}")).peer().await
}

async fn status(hub: SocketAddr, name: &str) -> u16 {
    client::get(hub, "/", name).await.status
}

/// The names that the hub has written down.
async fn written(state: &Path, wanted: &str) {
    let file = state.join("names");
    until(&format!("{wanted:?} in the file of names"), async || {
        std::fs::read_to_string(&file).ok()?.lines().any(|line| line == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_was_killed_answers_no_404_for_what_was_up() {
    let (state, http) = (tempfile::tempdir().unwrap(), Backend::http().await);
    let first = hub("127.0.0.1:0", state.path(), "").await;
    let addr = first.listen();
    let _site = connecting(addr, &format!("--service {NAME}={}", http.addr())).await;
    written(state.path(), &format!("up {NAME}")).await;
    drop(first);
    let again = hub(&addr.to_string(), state.path(), "").await;
    // The very first request after the start.
    assert_eq!(status(addr, NAME).await, 200);
    assert_eq!(status(addr, "never.example").await, 404);
    let ready = async || (again.page("/readyz").await.status == 200).then_some(());
    until("the hub to be ready", ready).await;
    assert_eq!(again.metrics().await.value(EXPECTED, &[]), 0.0);
    until("the log to say that all are back", async || {
        again.log().contains("all names that are expected are registered").then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_that_do_not_come_back_are_said_and_held_up_no_longer() {
    let (state, http) = (tempfile::tempdir().unwrap(), Backend::http().await);
    std::fs::write(state.path().join("names"), "up gone.example\ndown old.example\n").unwrap();
    let hub = hub("127.0.0.1:0", state.path(), "--warm-up 2s --data-timeout 1s").await;
    assert_eq!(hub.page("/readyz").await.status, 503);
    assert_eq!(hub.metrics().await.value(EXPECTED, &[]), 1.0);
    assert_eq!(status(hub.listen(), "gone.example").await, 503);
    assert_eq!(status(hub.listen(), "old.example").await, 503);
    let ready = async || (hub.page("/readyz").await.status == 200).then_some(());
    until("the hub to be ready", ready).await;
    assert_eq!(hub.metrics().await.value(EXPECTED, &[]), 0.0);
    let said = hub.logged("which name", |event| event.field("first") == "gone.example").await;
    assert!(said.message().contains("were not registered in time"), "{said:?}");
    // It may come yet.
    let _site = connecting(hub.listen(), &format!("--service gone.example={}", http.addr())).await;
    hub.serves(&["gone.example"]).await;
    assert_eq!(status(hub.listen(), "gone.example").await, 200);
}

#[tokio::test]
async fn names_can_be_expected_without_a_state() {
    let http = Backend::http().await;
    let hub = listening(&format!("--expect {NAME}")).await;
    assert_eq!(hub.page("/readyz").await.status, 503);
    let asked = tokio::spawn(status_of(hub.listen()));
    let held = |metrics: &ops_proxy_tests::metrics::Metrics| {
        metrics.value("ops_proxy_requests_held", &[]) == 1.0
    };
    hub.until("the request to be held", held).await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={}", http.addr())).await;
    assert_eq!(asked.await.unwrap(), 200);
    let ready = async || (hub.page("/readyz").await.status == 200).then_some(());
    until("the hub to be ready", ready).await;
}

async fn status_of(hub: SocketAddr) -> u16 {
    status(hub, NAME).await
}

#[tokio::test]
async fn requests_wait_for_the_only_site_of_a_name_to_come_back() {
    let (hub, http) = (listening("--hold 20s").await, Backend::http().await);
    let site = || async {
        let args = format!("--service {NAME}={} --peer-id site --drain-grace 100ms", http.addr());
        connecting(hub.listen(), &args).await
    };
    let mut before = site().await;
    hub.serves(&[NAME]).await;
    let visitors = Visitors::start(hub.listen(), NAME);
    for _ in 0..3 {
        before.terminate();
        assert_eq!(before.exit_code().await, 0);
        before = site().await;
        visitors.round().await;
    }
    assert_eq!(visitors.leave().await, Vec::<String>::new());
    let metrics = hub.quiet().await;
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[("client_name", NAME)]), 3.0);
    assert_eq!(metrics.value("ops_proxy_no_client_total", &[("client_name", NAME)]), 0.0);
}

#[tokio::test]
async fn a_drain_ends_the_waiting() {
    let hub = listening("--hold 1h --expect gone.example --data-timeout 1h --drain-grace 100ms");
    let mut hub = hub.await;
    let addr = hub.listen();
    let asked = tokio::spawn(async move { status(addr, "gone.example").await });
    let held = |metrics: &ops_proxy_tests::metrics::Metrics| {
        metrics.value("ops_proxy_requests_held", &[]) == 1.0
    };
    hub.until("the request to be held", held).await;
    hub.terminate();
    assert_eq!(asked.await.unwrap(), 503);
    assert_eq!(hub.exit_code().await, 0);
}

#[tokio::test]
async fn a_state_that_cannot_be_kept_is_said() {
    let run = |args: &str| launch().args("run --admin none").args(args).start().output();
    let (code, _, said) = run("--listen 127.0.0.1:0 --state-dir /nowhere/at/all").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("state_dir") && said.contains("/nowhere/at/all"), "{said}");
    let (code, _, said) =
        run("--listen 127.0.0.1:0 --service a.example=127.0.0.1:1 --expect a.example").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("serves a.example itself"), "{said}");
}

/// Where a process tells systemd about itself.
struct Systemd {
    socket: UnixDatagram,
    _directory: TempDir,
    path: String,
}

impl Systemd {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), _directory: directory }
    }

    /// The next that it is told and that contains `wanted`; what comes before is passed over.
    async fn told(&self, wanted: &str) {
        within(&format!("{wanted} to be told"), async {
            let mut buffer = [0; 1024];
            loop {
                let length = self.socket.recv(&mut buffer).await.unwrap();
                if String::from_utf8_lossy(&buffer[..length]).contains(wanted) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn systemd_is_told_how_far_a_peer_is() {
    let (systemd, http) = (Systemd::new(), Backend::http().await);
    let args = format!("run --listen 127.0.0.1:0 --expect {NAME} --warm-up 1h --drain-grace 100ms");
    let launch = launch().args(&args).env("NOTIFY_SOCKET", &systemd.path);
    let mut hub = launch.env("WATCHDOG_USEC", "200000").peer().await;
    systemd.told("WATCHDOG=1").await;
    let mut early = [0; 1024];
    while let Ok(length) = systemd.socket.try_recv(&mut early) {
        assert!(!early[..length].starts_with(b"READY"), "a name is missing yet");
    }
    let _site = connecting(hub.listen(), &format!("--service {NAME}={}", http.addr())).await;
    systemd.told("READY=1").await;
    hub.process().hang_up();
    systemd.told("RELOADING=1\nMONOTONIC_USEC=").await;
    systemd.told("READY=1").await;
    hub.terminate();
    systemd.told("STOPPING=1").await;
    assert_eq!(hub.exit_code().await, 0);
}

#[tokio::test]
async fn a_socket_of_systemd_that_is_gone_is_said() {
    let launch = launch().args("run --listen 127.0.0.1:0").env("NOTIFY_SOCKET", "/nowhere/notify");
    let hub = launch.peer().await;
    until("the log to say it", async || hub.log().contains("cannot tell systemd").then_some(()))
        .await;
}
