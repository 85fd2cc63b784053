//! Configurations that change while the peer runs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::visitors::Visitors;
use ops_proxy_tests::wait::until;
use tempfile::TempDir;

use crate::{NAME, connecting, launch, listening};

const FAILED: &str = "ops_proxy_config_reload_failed_total";
const IN_FORCE: &str = "ops_proxy_config_last_reload_successful";
const LAST: &str = "ops_proxy_config_last_reload_success_timestamp_seconds";

/// A configuration file that a test changes.
struct Changing {
    directory: TempDir,
}

impl Changing {
    fn new(text: &str) -> Self {
        let new = Self { directory: tempfile::tempdir().unwrap() };
        new.write(text);
        new
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("peer.toml")
    }

    /// As editors and ConfigMaps do it: the whole file at once.
    fn write(&self, text: &str) {
        let new = self.directory.path().join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// Changes it, and has the peer read it at once.
    fn change(&self, peer: &mut Peer, text: &str) {
        self.write(text);
        peer.process().hang_up();
    }
}

async fn site(hub: SocketAddr, config: &Path) -> Peer {
    connecting(hub, &format!("--config {}", config.display())).await
}

async fn status(peer: &Peer, name: &str) -> u16 {
    client::get(peer.listen(), "/", name).await.status
}

async fn has_status(peer: &Peer, name: &str, wanted: u16) {
    until(&format!("{name} to get {wanted}"), async || {
        (status(peer, name).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn services_come_and_go_beside_one_that_is_never_withdrawn() {
    let (hub, http) = (listening("").await, Backend::http().await);
    let backend = http.addr();
    let stays = format!("'{NAME}={backend}'");
    let config = Changing::new(&format!("service = [{stays}]"));
    let mut site = site(hub.listen(), &config.path()).await;
    hub.serves(&[NAME]).await;
    let visitors = Visitors::start(hub.listen(), NAME);
    for round in 0..10 {
        let other = format!("other-{round}.example");
        config.change(&mut site, &format!("service = [{stays}, '{other}={backend}']"));
        has_status(&hub, &other, 200).await;
        // Its backend moves, and what it offers changes.
        let table =
            format!("[[service]]\nname = '{other}'\nbackend = '{backend}'\nallow = ['10.9.9.9']");
        config.change(
            &mut site,
            &format!("[[service]]\nname = '{NAME}'\nbackend = '{backend}'\n{table}"),
        );
        has_status(&hub, &other, 403).await;
        config.change(&mut site, &format!("service = [{stays}]"));
        has_status(&hub, &other, 503).await;
        visitors.round().await;
    }
    assert_eq!(visitors.leave().await, Vec::<String>::new());
    let metrics = hub.quiet().await;
    let of_name = |family| metrics.value(family, &[("client_name", NAME)]);
    assert_eq!(of_name("ops_proxy_client_disconnects_total"), 0.0);
    assert_eq!(of_name("ops_proxy_requests_failed_total"), 0.0);
    assert_eq!(site.metrics().await.value(FAILED, &[]), 0.0);
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal() {
    let (hub, http) = (listening("").await, Backend::http().await);
    let config = Changing::new(&format!("service = ['{NAME}={}']", http.addr()));
    let _site = site(hub.listen(), &config.path()).await;
    hub.serves(&[NAME]).await;
    config.write(&format!("service = ['{NAME}={0}', 'new.example={0}']", http.addr()));
    hub.serves(&[NAME, "new.example"]).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where() {
    let (hub, http) = (listening("").await, Backend::http().await);
    let good = format!("service = ['{NAME}={}']", http.addr());
    let config = Changing::new(&good);
    let mut site = site(hub.listen(), &config.path()).await;
    hub.serves(&[NAME]).await;
    let before = site.metrics().await.value(LAST, &[]);
    assert!(before > 1e9);
    config.change(&mut site, "heartbeat = '2s'\nservise = []");
    site.until("the failed reload", |metrics| metrics.value(FAILED, &[]) == 1.0).await;
    assert_eq!(site.metrics().await.value(IN_FORCE, &[]), 0.0);
    until("the log to say where", async || {
        let log = site.log();
        let said = log.contains("peer.toml: unknown key (line 2); did you mean service?")
            && log.contains("the old one stays in force");
        said.then_some(())
    })
    .await;
    assert_eq!(status(&hub, NAME).await, 200);
    // What cannot change says so, and the rest changes.
    config.change(&mut site, &format!("{good}\nidle_data = 3\naccess_log_query = true"));
    for key in ["idle_data", "access_log_query"] {
        let says = |event: &Event| {
            event.message().contains("only with a restart") && event.field("key") == key
        };
        until(&format!("the log to name {key}"), async || {
            site.events().iter().any(says).then_some(())
        })
        .await;
    }
    assert_eq!(site.metrics().await.value(FAILED, &[]), 1.0);
}

#[tokio::test]
async fn ports_and_what_they_lead_to_change_and_streams_go_on() {
    let (http, echo) = (Backend::http().await, Backend::echo().await);
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (first, second) = (free(), free());
    let config = Changing::new(&format!("tcp = ['{first}=echo.example']"));
    let run = format!("run --listen 127.0.0.1:0 --config {}", config.path().display());
    let mut hub = launch().args(&run).peer().await;
    let services =
        format!("--service echo.example={} --service web.example={}", echo.addr(), http.addr());
    let _site = connecting(hub.listen(), &services).await;
    hub.serves(&["echo.example", "web.example"]).await;
    let mut stream = client::connect(first).await;
    client::assert_carries(&mut stream).await;

    config.change(&mut hub, &format!("tcp = ['{second}=echo.example']"));
    until("the old port to be closed", async || {
        tokio::net::TcpStream::connect(first).await.is_err().then_some(())
    })
    .await;
    client::assert_carries(&mut stream).await;
    let mut other = client::connect(second).await;
    client::assert_carries(&mut other).await;

    // The same port, to another name.
    config.change(&mut hub, &format!("tcp = ['{second}=web.example']"));
    until("the second change to be read", async || {
        let read = hub.log().matches("the configuration was read again").count();
        (read == 2).then_some(())
    })
    .await;
    assert_eq!(client::get(second, "/", "any").await.status, 200);
    client::assert_carries(&mut other).await;

    // A port that somebody else has changes nothing.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.change(&mut hub, &format!("tcp = ['{}=echo.example']", held.local_addr().unwrap()));
    hub.until("the failed reload", |metrics| metrics.value(FAILED, &[]) == 1.0).await;
    assert_eq!(client::get(second, "/", "any").await.status, 200);
}

#[tokio::test]
async fn a_peer_follows_the_upstreams_of_its_configuration() {
    let (one, two, http) = (listening("").await, listening("").await, Backend::http().await);
    let service = format!("service = ['{NAME}={}']", http.addr());
    let to = |hubs: &[&Peer]| {
        let hubs: Vec<String> = hubs.iter().map(|hub| format!("'{}'", hub.listen())).collect();
        format!("connect = [{}]\n{service}", hubs.join(", "))
    };
    let config = Changing::new(&to(&[&one]));
    let run = format!("run --config {}", config.path().display());
    let mut site = launch().args(&run).peer().await;
    one.serves(&[NAME]).await;
    config.change(&mut site, &to(&[&one, &two]));
    two.serves(&[NAME]).await;
    assert_eq!(status(&two, NAME).await, 200);
    config.change(&mut site, &to(&[&two]));
    one.serves(&[]).await;
    let gone = one.listen().to_string();
    site.until("the metrics of the old link to go", |metrics| {
        !metrics.label_values("ops_proxy_client_links_wanted", "upstream").contains(&gone)
    })
    .await;
    assert_eq!(status(&two, NAME).await, 200);
    config.change(&mut site, &to(&[&one, &two]));
    one.serves(&[NAME]).await;
}

#[tokio::test]
async fn the_files_of_a_directory_are_read_together() {
    let (hub, http) = (listening("").await, Backend::http().await);
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
    write("10-peer.toml", &format!("peer_id = 'site'\nservice = ['{NAME}={}']", http.addr()));
    write("ignored.txt", "no TOML");
    let mut site = site(hub.listen(), directory.path()).await;
    hub.serves(&[NAME]).await;
    write("20-more.toml", &format!("service = ['more.example={}']", http.addr()));
    site.process().hang_up();
    hub.serves(&[NAME, "more.example"]).await;
    write("30-again.toml", &format!("service = ['more.example={}']", http.addr()));
    site.process().hang_up();
    until("the log to name both files", async || {
        let log = site.log();
        let both = log.contains("20-more.toml and") && log.contains("30-again.toml");
        both.then_some(())
    })
    .await;
    hub.serves(&[NAME, "more.example"]).await;
}

#[tokio::test]
async fn the_log_says_more_from_now_on() {
    let http = Backend::http().await;
    let config = Changing::new("log_level = 'info'");
    let run = format!("run --listen 127.0.0.1:0 --config {}", config.path().display());
    let hub = launch().args(&run).peer().await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={}", http.addr())).await;
    hub.serves(&[NAME]).await;
    let refuse = async || {
        let refused =
            client::exchange(hub.listen(), client::connect_request(NAME).as_bytes()).await;
        assert_eq!(refused.status, 404);
    };
    refuse().await;
    assert!(!hub.events().iter().any(|event| event.level() == "DEBUG"));
    config.write("log_level = 'debug'");
    until("the log to tell of a refusal", async || {
        refuse().await;
        hub.events().iter().any(|event| event.message() == "refused a request").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_warned_about() {
    let hub =
        launch().env("OPS_PROXY_HEARTBEET", "2s").args("run --listen 127.0.0.1:0").peer().await;
    until("the warning", async || {
        let words = "OPS_PROXY_HEARTBEET is no setting; did you mean OPS_PROXY_HEARTBEAT?";
        hub.log().contains(words).then_some(())
    })
    .await;
}
