//! Links to several listening peers by one name: each address has one, or each of several
//! peers behind one address.

use std::net::{Ipv4Addr, SocketAddr};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::dns::{Dns, own_addresses};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::visitors::{VISITORS, Visitors};
use ops_proxy_tests::wait::{skipped, until};
use tokio::task::JoinSet;

use crate::{BINARY, NAME, idle_data, launch, listening};

/// The name that all hubs have in DNS.
const HUBS: &str = "hubs.example";

/// A listening peer, and those who ask it all the time.
struct Hub {
    peer: Peer,
    visitors: Visitors,
}

impl Hub {
    /// Begins to ask `peer`, which must have so many links.
    async fn of(peer: Peer, count: usize) -> Self {
        links(&peer, count).await;
        let visitors = Visitors::start(peer.listen(), NAME);
        Self { peer, visitors }
    }

    /// How many requests have failed.
    fn failures(&self) -> usize {
        self.visitors.failures().len()
    }
}

async fn hub_at(ip: Ipv4Addr, port: u16) -> Peer {
    launch().args(&format!("run --listen {ip}:{port}")).peer().await
}

/// Waits until `hub` has so many links, and [`NAME`] a provider.
async fn links(hub: &Peer, count: usize) {
    let what = format!("{count} links of {}", hub.listen());
    hub.until(&what, |metrics| {
        metrics.value("ops_proxy_links", &[]) == count as f64
            && metrics.value("ops_proxy_client_up", &[("client_name", NAME)]) == 1.0
    })
    .await;
}

/// Waits until `site` wants and holds so many links to `upstream`.
async fn keeps(site: &Peer, upstream: &str, wanted: usize, held: usize) {
    let upstream = [("upstream", upstream)];
    site.until(&format!("{held} of {wanted} links"), |metrics| {
        metrics.value("ops_proxy_client_links_wanted", &upstream) == wanted as f64
            && metrics.value("ops_proxy_client_links_held", &upstream) == held as f64
    })
    .await;
}

/// Everybody asks again.
async fn rounds(hubs: &[Hub]) {
    for hub in hubs {
        hub.visitors.round().await;
    }
}

fn failures(hubs: &[Hub]) -> Vec<String> {
    hubs.iter().flat_map(|hub| hub.visitors.failures()).collect()
}

fn unexpected(metrics: &Metrics) -> f64 {
    metrics.value("ops_proxy_data_connections_unexpected_total", &[])
}

#[tokio::test]
async fn requests_go_on_while_hubs_and_instances_come_and_go() {
    let Some(dns) = Dns::answering() else {
        return skipped("a server of DNS and a mount namespace take root");
    };
    let ips: [Ipv4Addr; 4] = own_addresses();
    dns.set(HUBS, &ips[..3]);
    let backend = Backend::http().await;
    let first = hub_at(ips[0], 0).await;
    let port = first.listen().port();
    let upstream = format!("{HUBS}:{port}");
    let instance = async |which: &str| {
        let peer = format!("--insecure-plaintext --peer-id site --instance {which} --idle-data 64");
        let service = format!("--service {NAME}={}", backend.addr());
        dns.launch(BINARY).args(&format!("run --connect {upstream} {peer} {service}")).peer().await
    };
    let peers = [first, hub_at(ips[1], port).await, hub_at(ips[2], port).await];
    let (a, b) = (instance("a").await, instance("b").await);
    for site in [&a, &b] {
        keeps(site, &upstream, 3, 3).await;
    }
    let mut hubs = Vec::new();
    for peer in peers {
        hubs.push(Hub::of(peer, 2).await);
    }
    rounds(&hubs).await;
    assert_eq!(failures(&hubs), [""; 0]);

    // A hub is killed: the others have no part in that.
    drop(hubs.remove(0));
    for site in [&a, &b] {
        keeps(site, &upstream, 3, 2).await;
    }
    rounds(&hubs).await;
    assert_eq!(failures(&hubs), [""; 0]);

    // An instance is killed: what it was serving fails, and nothing else.
    drop(b);
    for hub in &hubs {
        links(&hub.peer, 1).await;
    }
    rounds(&hubs).await;
    let lost = failures(&hubs);
    assert!(hubs.iter().all(|hub| hub.failures() <= VISITORS), "{lost:?}");
    let b = instance("b").await;
    keeps(&b, &upstream, 3, 2).await;

    // Another hub takes the place of the one that was killed.
    let fourth = hub_at(ips[3], port).await;
    dns.set(HUBS, &ips[1..]);
    hubs.push(Hub::of(fourth, 2).await);
    for site in [&a, &b] {
        keeps(site, &upstream, 3, 3).await;
    }
    rounds(&hubs).await;
    assert_eq!(failures(&hubs), lost);
    for Hub { peer, visitors } in hubs {
        visitors.leave().await;
        assert_eq!(unexpected(&peer.quiet().await), 0.0, "{}", peer.listen());
    }
    let ups = |peer: &Peer| peer.events().iter().filter(|event| event.message() == UP).count();
    until("four links in the log", async || (ups(&a) == 4).then_some(())).await;
}

const UP: &str = "link up, names registered";

/// Three listening peers, and a balancer that takes turns among them.
async fn behind_a_balancer() -> (Vec<Peer>, Backend) {
    let mut hubs = Vec::new();
    for _ in 0..3 {
        hubs.push(listening("").await);
    }
    let balancer = Backend::balancer(hubs.iter().map(Peer::listen).collect()).await;
    (hubs, balancer)
}

async fn statuses_of(to: SocketAddr, requests: usize) -> Vec<u16> {
    let mut asked = JoinSet::new();
    for _ in 0..requests {
        asked.spawn(async move { client::get(to, "/", NAME).await.status });
    }
    asked.join_all().await
}

#[tokio::test]
async fn three_peers_behind_one_address_get_a_link_each_and_their_own_data() {
    let backend = Backend::http().await;
    // Two for each link, and some to spare: they have them in common.
    for idle in [0_u8, 12] {
        let (hubs, balancer) = behind_a_balancer().await;
        let upstream = balancer.addr().to_string();
        let service = format!("--service {NAME}={} --idle-data {idle}", backend.addr());
        let site = launch().args(&format!("run --connect {upstream}*3 {service}")).peer().await;
        keeps(&site, &upstream, 3, 3).await;
        for hub in &hubs {
            links(hub, 1).await;
            if idle > 0 {
                hub.until("idle DATA connections", |metrics| idle_data(metrics) > 0.0).await;
            }
        }
        for hub in &hubs {
            for _ in 0..5 {
                assert_eq!(statuses_of(hub.listen(), 6).await, [200; 6]);
            }
        }
        for hub in &hubs {
            let metrics = hub.quiet().await;
            assert_eq!(unexpected(&metrics), 0.0);
            // Dials that reached a peer again were given up before they replaced its link.
            assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[]), 0.0);
            let answered = [("result", "answered")];
            let on_idle = metrics.value("ops_proxy_idle_data_forwards_total", &answered);
            assert_eq!(on_idle > 0.0, idle > 0, "{on_idle}");
        }
        keeps(&site, &upstream, 3, 3).await;
    }
}

#[tokio::test]
async fn a_peer_that_is_lacking_behind_an_address_is_said() {
    let (hubs, balancer) = behind_a_balancer().await;
    let upstream = balancer.addr().to_string();
    let to = format!("{upstream}*4");
    let site =
        launch().args(&format!("run --connect {to} --service {NAME}=127.0.0.1:1")).peer().await;
    keeps(&site, &upstream, 4, 3).await;
    let event = until("what is lacking", async || {
        let events = site.events();
        let lacking = |message: &str| message.starts_with("there are fewer different peers behind");
        events.into_iter().find(|event| event.level() == "WARN" && lacking(event.message()))
    })
    .await;
    assert_eq!(event.field("upstream"), upstream);
    assert!(event.message().contains("or its balancer does not take turns"), "{}", site.log());
    for hub in &hubs {
        links(hub, 1).await;
    }
    drop(hubs);
    keeps(&site, &upstream, 4, 0).await;
}
