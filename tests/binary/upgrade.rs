//! SIGUSR2: a new process takes over, and nobody notices.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, assert_carries, connect, next_answer, stream_to};
use ops_proxy_tests::datagrams;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::visitors::Visitors;
use ops_proxy_tests::wait::{skipped, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{NAME, connecting, every_way, launch, listening};

const OTHER: &str = "other.example";

/// Waits until the log has this message.
async fn logged(peer: &Peer, message: &str) -> Event {
    peer.logged(message, |event| event.message().contains(message)).await
}

/// Asks for `name` on a connection that is kept; the status, and what the answer says of the
/// connection.
async fn ask(client: &mut TcpStream, name: &str) -> (u16, String) {
    client.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes()).await.unwrap();
    let answer = next_answer(client).await;
    (answer.status, answer.field("connection").to_owned())
}

#[tokio::test]
async fn a_hub_and_then_its_site_are_upgraded_under_load_and_no_request_fails() {
    let http = Backend::http().await;
    let mut hub = listening("--peer-id hub --drain-grace 1s").await;
    let service = every_way(NAME, http.addr());
    let mut site = connecting(hub.listen(), &format!("--peer-id site {service}")).await;
    hub.serves(&[NAME]).await;
    let visitors = Visitors::start(hub.listen(), NAME);
    visitors.round().await;
    hub.process().upgrade().await;
    visitors.round().await;
    assert_eq!(hub.process().first_ended().await, Some(0));
    visitors.round().await;
    // It has the addresses of the one before, and counts anew.
    hub.serves(&[NAME]).await;
    site.process().upgrade().await;
    visitors.round().await;
    assert_eq!(site.process().first_ended().await, Some(0));
    visitors.round().await;
    // A second one, of what has taken over.
    hub.process().upgrade().await;
    visitors.round().await;
    assert_eq!(visitors.failures(), [""; 0]);
    let unexpected = hub.metrics().await.value("ops_proxy_data_connections_unexpected_total", &[]);
    assert_eq!(unexpected, 0.0);
}

/// A hub whose successor is not ready before somebody registers another name: until then the hub
/// serves who is connected to it.
const SLOW: &str = "--expect late.example --warm-up 1m";

/// Two names, asked for in turn through a hub whose successor takes all new connections, until a
/// peer with the arguments `late` comes.
async fn asked_in_turn_while_another_accepts(mut hub: Peer, site: Peer, late: &str) {
    hub.serves(&[NAME, OTHER]).await;
    let mut kept = connect(hub.listen()).await;
    assert_eq!(ask(&mut kept, NAME).await.0, 200);
    hub.process().ask_for_upgrade();
    logged(&site, "another process of the listening peer takes connections now").await;
    // Each is a FORWARD of the old process, whose DATA connection comes to the new one.
    for name in [OTHER, NAME, OTHER, NAME] {
        let (status, connection) = ask(&mut kept, name).await;
        assert_eq!((status, connection.as_str()), (200, ""), "{name}");
    }
    // Who comes now is served by the new one.
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    let metrics = hub.metrics().await;
    let requests = metrics.value("ops_proxy_requests_total", &[("client_name", NAME)]);
    assert_eq!(requests, 1.0, "the new process counts what came to it alone");
    assert_eq!(metrics.value("ops_proxy_data_connections_unexpected_total", &[]), 0.0);
    let _late = connecting(hub.listen(), late).await;
    logged(&hub, "another process has taken over").await;
    // The next answer is the last on this connection, and says so.
    assert_eq!(ask(&mut kept, NAME).await, (200, "close".to_owned()));
    assert_eq!(client::to_end(&mut kept).await.unwrap(), b"");
    assert_eq!(hub.process().first_ended().await, Some(0));
}

#[tokio::test]
async fn what_the_old_process_asks_for_comes_to_it_through_the_new_one() {
    let http = Backend::http().await;
    let hub = listening(&format!("--peer-id hub {SLOW}")).await;
    let services = format!("--service {NAME}={0} --service {OTHER}={0}", http.addr());
    let site = connecting(hub.listen(), &format!("{services} --peer-id site --idle-data 0")).await;
    let late = format!("--service late.example={} --peer-id late", http.addr());
    asked_in_turn_while_another_accepts(hub, site, &late).await;
}

#[tokio::test]
async fn what_was_shown_to_the_new_process_lets_a_peer_in_at_the_old_one() {
    let (http, ca) = (Backend::http().await, Ca::new("mesh"));
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let hub = listening(&format!("--peer-id hub {} {SLOW}", ca.flags(&files))).await;
    let files = ca.issue("site", Request::peer("site", &[NAME, OTHER]));
    let services = format!("--service {NAME}={0} --service {OTHER}={0}", http.addr());
    let args = format!("{services} --peer-id site --idle-data 0 {}", ca.flags(&files));
    let site = connecting(hub.listen(), &args).await;
    let files = ca.issue("late", Request::peer("late", &["late.example"]));
    let late = format!("--service late.example={} --peer-id late", http.addr());
    let late = format!("{late} {}", ca.flags(&files));
    asked_in_turn_while_another_accepts(hub, site, &late).await;
}

#[tokio::test]
async fn streams_go_on_and_ports_are_taken_over() {
    let (echo, udp) = (Backend::echo().await, datagrams::Echo::start().await);
    let mut hub = listening(&format!(
        "--tcp 127.0.0.1:0={NAME} --udp 127.0.0.1:0=dns.example --drain-grace 1s"
    ))
    .await;
    let services =
        format!("{} --service dns.example/udp=udp://{}", every_way(NAME, echo.addr()), udp.addr());
    let _site = connecting(hub.listen(), &services).await;
    hub.serves(&[NAME, "dns.example"]).await;
    let mut tunnel = stream_to(hub.listen(), NAME).await;
    let mut raw = connect(hub.tcp()[0]).await;
    assert_carries(&mut raw).await;
    hub.process().upgrade().await;
    hub.serves(&[NAME, "dns.example"]).await;
    for _ in 0..3 {
        assert_carries(&mut tunnel).await;
        assert_carries(&mut raw).await;
        assert_carries(&mut connect(hub.tcp()[0]).await).await;
        let client = datagrams::client(hub.udp()[0]).await;
        assert_eq!(
            datagrams::exchange(&client, b"to the new process").await,
            b"to the new process"
        );
    }
    drop((tunnel, raw));
    assert_eq!(hub.process().first_ended().await, Some(0));
}

#[tokio::test]
async fn a_program_that_does_not_start_changes_nothing() {
    let (http, directory) = (Backend::http().await, tempfile::tempdir().unwrap());
    let file = directory.path().join("hub.toml");
    std::fs::write(&file, "listen = '127.0.0.1:0'\n").unwrap();
    let mut hub = launch().args(&format!("run --config {}", file.display())).peer().await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={}", http.addr())).await;
    hub.serves(&[NAME]).await;
    std::fs::write(&file, "listen = '127.0.0.1:0'\nlisten_to = 'everybody'\n").unwrap();
    hub.process().ask_for_upgrade();
    let said = logged(&hub, "there was no upgrade").await;
    assert!(said.field("error").contains("did not take over"), "{said:?}");
    assert!(hub.log().contains("listen_to"), "the new process says why");
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    // Mended, it works, with what the file says now.
    let more = format!("listen = '127.0.0.1:0'\nservice = ['{OTHER}={}']\n", http.addr());
    std::fs::write(&file, more).unwrap();
    hub.process().upgrade().await;
    assert_eq!(client::get(hub.listen(), "/", OTHER).await.status, 200);
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
}

#[tokio::test]
async fn a_new_process_that_dies_before_it_is_ready_gives_everything_back() {
    let http = Backend::http().await;
    let mut hub = listening(&format!("--peer-id hub {SLOW}")).await;
    let service = format!("--service {NAME}={}", http.addr());
    let site = connecting(hub.listen(), &format!("{service} --peer-id site")).await;
    hub.serves(&[NAME]).await;
    hub.process().ask_for_upgrade();
    logged(&site, "another process of the listening peer takes connections now").await;
    let second = until("the second process", async || hub.process().child()).await;
    let open = hub.process().tcp_listeners();
    hub.process().kill(second);
    logged(&hub, "there was no upgrade").await;
    // That on which it takes back what is for it.
    until("its listener on loopback to be closed", async || {
        (hub.process().tcp_listeners() < open).then_some(())
    })
    .await;
    hub.serves(&[NAME]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_upgrade_ends_the_new_process_and_drains_the_old_one() {
    let http = Backend::http().await;
    let mut hub = listening(&format!("--peer-id hub --drain-grace 1s {SLOW}")).await;
    let service = format!("--service {NAME}={}", http.addr());
    let site = connecting(hub.listen(), &format!("{service} --peer-id site")).await;
    hub.serves(&[NAME]).await;
    let mut kept = connect(hub.listen()).await;
    assert_eq!(ask(&mut kept, NAME).await.0, 200);
    hub.process().ask_for_upgrade();
    logged(&site, "another process of the listening peer takes connections now").await;
    let second = until("the second process", async || hub.process().child()).await;
    hub.process().terminate();
    logged(&hub, "draining; send a second signal").await;
    assert_eq!(ask(&mut kept, NAME).await, (200, "close".to_owned()));
    // Who comes now finds the old process, which still has its grace.
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    assert!(test_kill_process(second).is_err(), "the new process still runs");
    assert_eq!(hub.process().first_ended().await, Some(0));
}

#[tokio::test]
async fn a_socket_from_systemd_is_served_and_one_that_nobody_wants_is_named() {
    let http = Backend::http().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = socket.local_addr().unwrap();
    // Somebody is waiting already.
    let mut early = connect(addr).await;
    let service = format!("--service {NAME}={}", http.addr());
    let hub = launch().given(socket).args(&format!("run --listen {addr} {service}")).peer().await;
    assert_eq!(ask(&mut early, NAME).await.0, 200);
    drop(hub);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let hub = launch().given(socket).args("run --listen 127.0.0.1:0").peer().await;
    let said = logged(&hub, "no setting names its address").await;
    assert_eq!(said.field("addr"), addr.to_string());
}

/// A wrk that runs; killed when dropped.
struct Load(Option<Child>);

impl Load {
    /// Ends it; what it says.
    fn report(mut self) -> String {
        let wrk = self.0.take().unwrap();
        kill_process(Pid::from_child(&wrk), Signal::INT).unwrap();
        String::from_utf8(wrk.wait_with_output().unwrap().stdout).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(wrk) = &mut self.0 {
            let _ = wrk.kill();
            let _ = wrk.wait();
        }
    }
}

/// What wrk says of connections that failed and of answers that were no success; empty if
/// there were none.
fn complaints(report: &str) -> Vec<&str> {
    report
        .lines()
        .filter(|line| line.contains("Socket errors") || line.contains("Non-2xx"))
        .collect()
}

/// A file with the service under load and, from time to time, others beside it.
fn services(round: usize, backend: SocketAddr) -> String {
    let mut services = format!("service = ['{NAME}={backend}'");
    if round % 2 == 1 {
        services += &format!(", 'sometimes.example={backend}'");
    }
    if !round.is_multiple_of(3) {
        services += &format!(", 'changing.example=127.0.0.1:{}'", 1 + round);
    }
    services + "]\n"
}

/// As a measurement, with a release build: see `just upgrades-under-load`.
#[tokio::test]
async fn fifty_reloads_and_two_upgrades_under_load_fail_no_request() {
    if Command::new("wrk").arg("-v").output().is_err() {
        return skipped("wrk is not installed");
    }
    let (http, directory) = (Backend::http().await, tempfile::tempdir().unwrap());
    let file = directory.path().join("site.toml");
    std::fs::write(&file, services(0, http.addr())).unwrap();
    let mut hub = listening("--peer-id hub --drain-grace 2s").await;
    let args = format!("--peer-id site --config {}", file.display());
    let mut site = connecting(hub.listen(), &args).await;
    hub.serves(&[NAME]).await;
    let url = format!("http://{}/", hub.listen());
    let loads = ["X-Load: kept", "Connection: close"].map(|field| {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c16", "-d600s", "-H", &format!("Host: {NAME}"), "-H", field, &url]);
        Load(Some(wrk.stdout(Stdio::piped()).spawn().unwrap()))
    });
    let read = |site: &Peer| {
        let events = site.events().into_iter();
        events.filter(|event| event.message() == "the configuration was read again").count()
    };
    for round in 1..=50 {
        std::fs::write(&file, services(round, http.addr())).unwrap();
        let before = read(&site);
        site.process().hang_up();
        until("a reload", async || (read(&site) > before).then_some(())).await;
    }
    hub.process().upgrade().await;
    assert_eq!(hub.process().first_ended().await, Some(0));
    site.process().upgrade().await;
    assert_eq!(site.process().first_ended().await, Some(0));
    hub.serves(&[NAME, "changing.example"]).await;
    // Before the clients end, within their requests.
    assert_eq!(hub.metrics().await.value("ops_proxy_proxy_errors_total", &[]), 0.0);
    for load in loads {
        let report = load.report();
        println!("{report}");
        assert_eq!(complaints(&report), [""; 0], "{report}");
        assert!(report.contains("requests in"), "{report}");
    }
}
