//! Ports of UDP: the datagrams of one client address are one request.

mod servers;

use std::collections::BTreeSet;
use std::time::Duration;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::datagrams::{self, Echo, Flow, LONGEST, exchange, next};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::wait::until;

use crate::{NAME, Path, connecting, idle_data, launch, listening};

const UDP: [(&str, &str); 2] = [("client_name", NAME), ("protocol", "udp")];

/// A port that routes to [`NAME`].
fn port(args: &str) -> String {
    format!("--udp 127.0.0.1:0={NAME} {args}")
}

/// A port of UDP through which an echo is reached.
struct Mesh {
    echo: Echo,
    public: Peer,
    behind: Option<Peer>,
}

impl Mesh {
    /// With these arguments of the listening peer.
    async fn new(path: Path, args: &str) -> Self {
        let echo = Echo::start().await;
        let service = format!("--service {NAME}/udp={}", echo.addr());
        let (public, behind) = match path {
            Path::Local => (listening(&port(&format!("{args} {service}"))).await, None),
            Path::Tunnelled => {
                let public = listening(&port(args)).await;
                let behind = connecting(public.listen(), &service).await;
                public.until("idle DATA connections", |metrics| idle_data(metrics) == 2.0).await;
                (public, Some(behind))
            }
            Path::Dialled => {
                let public = listening(&port(args)).await;
                let service = format!("{service} --idle-data 0");
                let behind = connecting(public.listen(), &service).await;
                (public, Some(behind))
            }
        };
        public.serves(&[NAME]).await;
        Self { echo, public, behind }
    }

    async fn client(&self) -> tokio::net::UdpSocket {
        datagrams::client(self.public.udp()[0]).await
    }
}

fn requests(metrics: &Metrics) -> [f64; 3] {
    ["total", "success_total", "failed_total"]
        .map(|family| metrics.value(&format!("ops_proxy_requests_{family}"), &UDP))
}

fn dropped(metrics: &Metrics, reason: &str) -> f64 {
    metrics.value("ops_proxy_udp_dropped_total", &[("reason", reason)])
}

#[tokio::test]
async fn each_client_address_has_its_own_answers() {
    const CLIENTS: usize = 40;
    for path in Path::ALL {
        let mesh = Mesh::new(path, "--udp-idle 500ms").await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(mesh.client().await);
        }
        for round in 0..3 {
            for (n, client) in clients.iter().enumerate() {
                client.send(format!("{round} of {n}").as_bytes()).await.unwrap();
            }
            for (n, client) in clients.iter().enumerate() {
                assert_eq!(next(client).await, format!("{round} of {n}").as_bytes());
            }
        }
        let metrics = mesh.public.quiet().await;
        let [total, success, failed] = requests(&metrics);
        // A client that had to wait for long has begun another.
        assert!(total >= CLIENTS as f64, "{path:?}: {total}");
        assert_eq!((success, failed), (total, 0.0), "{path:?}");
        let bytes = (3 * (0..CLIENTS).map(|n| 5 + n.to_string().len()).sum::<usize>()) as f64;
        for family in ["tx", "rx"] {
            let family = format!("ops_proxy_connections_bytes_{family}_total");
            assert_eq!(metrics.value(&family, &[]), bytes, "{path:?}: payload alone");
        }
    }
}

#[tokio::test]
async fn datagrams_stay_apart_whatever_their_length() {
    for path in Path::ALL {
        let mesh = Mesh::new(path, "").await;
        let client = mesh.client().await;
        for length in [0, 1, 2, 1_420, 9_000, 16_384, LONGEST - 1, LONGEST, 0, 3] {
            let sent: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            assert!(exchange(&client, &sent).await == sent, "{path:?}: {length} bytes");
        }
        for n in 0..100_u8 {
            client.send(&vec![n; usize::from(n)]).await.unwrap();
        }
        let mut missing: BTreeSet<Vec<u8>> = (0..100).map(|n| vec![n; usize::from(n)]).collect();
        while !missing.is_empty() {
            let got = next(&client).await;
            assert!(missing.remove(&got), "{path:?}: {got:?} was not sent, or came twice");
        }
    }
}

/// It ends when it is idle, and not when one direction is.
#[tokio::test]
async fn idleness_ends_a_request_well_and_its_data_connection_carries_the_next() {
    let mesh = Mesh::new(Path::Tunnelled, "--udp-idle 200ms").await;
    for n in 1..=3 {
        let client = mesh.client().await;
        assert_eq!(exchange(&client, b"one").await, b"one");
        let running = requests(&mesh.public.metrics().await);
        assert_eq!(running[0], f64::from(n));
        let metrics = mesh.public.quiet().await;
        assert_eq!(requests(&metrics), [f64::from(n), f64::from(n), 0.0]);
    }
    let metrics = mesh.public.metrics().await;
    let answered = [("result", "answered")];
    assert_eq!(metrics.value("ops_proxy_idle_data_forwards_total", &answered), 3.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_matched_total", &[]), 3.0);
    let behind = mesh.behind.as_ref().unwrap();
    let metrics = behind.metrics().await;
    assert_eq!(metrics.value("ops_proxy_client_forwards_total", &[]), 3.0);
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &[]), 0.0);
}

#[tokio::test]
async fn datagrams_for_nobody_are_dropped_and_counted() {
    let public = listening(&port("--access-log json")).await;
    let client = datagrams::client(public.udp()[0]).await;
    for n in 1..=3 {
        client.send(b"is anybody there?").await.unwrap();
        public.until("the drop", |metrics| dropped(metrics, "no_request") == f64::from(n)).await;
    }
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &[("reason", "no_client")]), 3.0);
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0);
}

/// A fifth of what the port may have belongs to one source; the longest idle pays.
#[tokio::test]
async fn at_its_share_a_source_loses_its_longest_idle_request() {
    let mesh = Mesh::new(Path::Tunnelled, "--max-udp-requests 10").await;
    let clients = [mesh.client().await, mesh.client().await, mesh.client().await];
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(exchange(client, &[n as u8]).await, [n as u8]);
    }
    let metrics = mesh
        .public
        .until("two of them", |metrics| metrics.value("ops_proxy_connections_active", &[]) == 2.0);
    let metrics = metrics.await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "udp_limit")]), 1.0);
    assert_eq!(requests(&metrics), [3.0, 1.0, 0.0]);
    // It was the first: it begins another, in the place of the second.
    assert_eq!(exchange(&clients[0], b"again").await, b"again");
    let metrics = mesh.public.metrics().await;
    assert_eq!(requests(&metrics)[0], 4.0);
    let makes_room = |event: &Event| event.message().contains("to make room for another");
    mesh.public.logged("why one had to end", makes_room).await;
}

#[tokio::test]
async fn only_whom_a_name_is_for_reaches_it_and_only_by_udp() {
    let echo = Echo::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("services.toml");
    let table = "[[service]]\nname = 'app.example'\nbackend = 'udp://ECHO'\nways = ['udp']\n\
                 allow = ['127.0.0.2']\n";
    std::fs::write(&file, table.replace("ECHO", &echo.addr().to_string())).unwrap();
    let public = listening(&port("")).await;
    let service = format!("--config {}", file.display());
    let behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;
    let stranger = datagrams::client(public.udp()[0]).await;
    stranger.send(b"let me in").await.unwrap();
    public.until("the refusal", |metrics| dropped(metrics, "no_request") == 1.0).await;
    let friend = tokio::net::UdpSocket::bind("127.0.0.2:0").await.unwrap();
    friend.connect(public.udp()[0]).await.unwrap();
    assert_eq!(exchange(&friend, b"hello").await, b"hello");
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 404);
    let metrics = public.metrics().await;
    for reason in ["not_allowed", "way_not_offered"] {
        let rejected = metrics.value("ops_proxy_rejected_total", &[("reason", reason)]);
        assert_eq!(rejected, 1.0, "{reason}");
    }
    drop(behind);
}

/// A backend that speaks TCP was never said to take datagrams.
#[tokio::test]
async fn a_name_without_a_backend_for_it_is_not_reached_by_udp() {
    let backend = Backend::http().await;
    let public = listening(&port(&format!("--service {NAME}={}", backend.addr()))).await;
    let client = datagrams::client(public.udp()[0]).await;
    client.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let metrics =
        public.until("the refusal", |metrics| dropped(metrics, "no_request") == 1.0).await;
    let reason = [("reason", "way_not_offered")];
    assert_eq!(metrics.value("ops_proxy_rejected_total", &reason), 1.0);
}

/// That nobody is there shows when the first datagram was sent, and not before.
#[tokio::test]
async fn a_backend_whose_port_is_closed_fails_the_request() {
    for path in Path::ALL {
        let mut mesh = Mesh::new(path, "").await;
        let addr = mesh.echo.addr();
        mesh.echo = Echo::start().await;
        let client = mesh.client().await;
        // The port is free once the task has ended.
        while tokio::net::UdpSocket::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
        client.send(b"is anybody there?").await.unwrap();
        let unreachable = [("reason", "backend_unreachable")];
        let metrics = mesh.public.until("the failure", |metrics| {
            metrics.value("ops_proxy_proxy_errors_total", &unreachable) == 1.0
        });
        assert_eq!(requests(&metrics.await), [1.0, 0.0, 1.0], "{path:?}");
        let beside = mesh.behind.as_ref().unwrap_or(&mesh.public);
        // The listening peer hears of it first.
        until(&format!("{path:?}: the log to say so"), async || {
            beside.log().contains("nobody receives datagrams").then_some(())
        })
        .await;
        if let Some(behind) = &mesh.behind {
            let refused = [("reason", "backend_refused")];
            behind
                .until("its count", |metrics| {
                    metrics.value("ops_proxy_client_forwards_failed_total", &refused) == 1.0
                })
                .await;
        }
    }
}

/// The kernel sends a FIN for a process that is killed: that is no end of datagrams.
#[tokio::test]
async fn a_provider_that_is_killed_fails_its_requests() {
    for path in [Path::Tunnelled, Path::Dialled] {
        let mut mesh = Mesh::new(path, "").await;
        let client = mesh.client().await;
        assert_eq!(exchange(&client, b"one").await, b"one");
        mesh.behind = None;
        let metrics = mesh.public.quiet().await;
        assert_eq!(requests(&metrics), [1.0, 0.0, 1.0], "{path:?}");
        let broken = [("reason", "data_io_error")];
        assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &broken), 1.0, "{path:?}");
        // It comes back, and so does the client, from the same address.
        let service = format!("--service {NAME}/udp={}", mesh.echo.addr());
        let _again = connecting(mesh.public.listen(), &service).await;
        mesh.public.serves(&[NAME]).await;
        assert_eq!(exchange(&client, b"two").await, b"two", "{path:?}");
    }
}

/// A request that is idle does not hold up the end of the process for all of its idleness.
#[tokio::test]
async fn draining_ends_requests_that_are_idle_well_and_takes_no_new_ones() {
    let mut mesh = Mesh::new(Path::Tunnelled, "--drain-grace 1ms --access-log json").await;
    let client = mesh.client().await;
    assert_eq!(exchange(&client, b"one").await, b"one");
    mesh.public.terminate();
    assert_eq!(mesh.public.exit_code().await, 0);
    let events = mesh.public.events();
    let line = events.iter().find(|event| event.field("way") == "udp");
    let log = mesh.public.log();
    let line = line.unwrap_or_else(|| panic!("no line about the request: {log}"));
    assert_eq!((line.field("name"), line.field("outcome")), (NAME, "ok"), "{log}");
    assert_eq!((line.number("tx"), line.number("rx")), (3.0, 3.0), "{log}");
}

/// A request that leads back to where it came from would go round for ever.
#[tokio::test]
async fn a_port_that_leads_to_itself_is_recognised() {
    let reserved = datagrams::socket().await;
    let addr = reserved.local_addr().unwrap();
    drop(reserved);
    for bound in [addr.to_string(), format!("0.0.0.0:{}", addr.port())] {
        let args = format!("run --udp {bound}={NAME} --service {NAME}/udp={addr}");
        let public = launch().args(&args).peer().await;
        let client = datagrams::client(addr).await;
        client.send(b"round and round").await.unwrap();
        let metrics = public.until("the end", |metrics| {
            metrics.value("ops_proxy_proxy_errors_total", &[("reason", "loop")]) == 1.0
        });
        assert_eq!(requests(&metrics.await)[0], 2.0, "{bound}: the second is known");
    }
}

#[tokio::test]
async fn datagrams_go_through_tls_between_peers() {
    let ca = Ca::new("ca");
    let (hub, site) = (
        ca.issue("hub", Request::peer("hub", &["127.0.0.1"])),
        ca.issue("site", Request::peer("site", &[NAME])),
    );
    let echo = Echo::start().await;
    let public = listening(&port(&format!("--peer-id hub {}", ca.flags(&hub)))).await;
    let service =
        format!("--peer-id site --service {NAME}/udp={} {}", echo.addr(), ca.flags(&site));
    let _behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;
    let client = datagrams::client(public.udp()[0]).await;
    for length in [0, 1_420, LONGEST, 3] {
        let sent = vec![7; length];
        assert!(exchange(&client, &sent).await == sent, "{length} bytes");
    }
}

/// As WireGuard sends them. `just udp-minute` takes a minute for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_flow_loses_nothing() {
    let seconds = std::env::var("UDP_FLOW_SECONDS").ok();
    let seconds = seconds.map_or(3, |text| text.parse().expect("a number of seconds"));
    let mesh = Mesh::new(Path::Tunnelled, "").await;
    let lasts = Duration::from_secs(seconds);
    let flow = Flow { length: 1_420, per_second: 5_000, lasts };
    let (sent, missing) = flow.run(mesh.public.udp()[0]).await.unwrap();
    println!("{sent} datagrams each way, {} lost", missing.len());
    assert!(missing.is_empty(), "{} of {sent} are missing: {missing:?}", missing.len());
    let metrics = mesh.public.metrics().await;
    assert_eq!(requests(&metrics), [1.0, 0.0, 0.0], "it runs");
    for family in ["tx", "rx"] {
        let family = format!("ops_proxy_connections_bytes_{family}_total");
        assert_eq!(metrics.value(&family, &[]), (sent * 1_420) as f64);
    }
}
