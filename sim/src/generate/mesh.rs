//! Peers, backends and clients.

use std::collections::BTreeMap;

use super::draw::{Draw, MOST_PEERS};
use crate::scenario::{
    BackendKind, BackendSpec, CertificateSpec, PeerSpec, Scenario, Size, Time, TlsSpec,
};

/// The port that listening peers listen on.
pub(super) const PORT: u16 = 8080;

/// Who signs, where peers speak TLS.
const CA: &str = "ours";

/// A certificate of that CA, in the hands of nobody's peer.
pub(super) const STRANGER: &str = "stranger";

/// The first of their raw TCP ports.
const TCP_PORT: u16 = 7000;

const NAMES: [&str; 5] = ["a.example", "b.example", "c.example", "d.e.example", "*.wild.example"];

/// Draws them. Whether the peers shall speak TLS.
pub(super) fn draw(draw: &mut Draw, scenario: &mut Scenario) -> bool {
    let listening = if draw.chance(0.7) { 1 } else { draw.between(2, 3) as usize };
    let connecting = match draw.between(0, 9) {
        0 => MOST_PEERS - listening,
        1..=4 => 1,
        _ => draw.between(2, 3) as usize,
    };
    let listens: Vec<String> = (1..=listening).map(|n| format!("edge{n}")).collect();
    let names = &NAMES[..draw.between(1, NAMES.len() as u64) as usize];
    for host in &listens {
        let mut peer = listening_peer(draw);
        let mapped = names.iter().filter(|name| !name.starts_with('*'));
        for (port, name) in (TCP_PORT..).zip(mapped) {
            peer.tcp.insert(port.to_string(), (*name).to_owned());
        }
        // A mesh: some listening peers are themselves reachable only through others.
        if draw.chance(0.3) {
            peer.connect = upstreams(draw, &listens, Some(host));
            serve(draw, scenario, &mut peer, names, host);
        }
        scenario.peers.insert(host.clone(), peer);
    }
    for n in 1..=connecting {
        let host = format!("site{n}");
        let mut peer = timing(draw);
        peer.connect = upstreams(draw, &listens, None);
        serve(draw, scenario, &mut peer, names, &host);
        scenario.peers.insert(host, peer);
    }
    let is_secure = draw.chance(0.25);
    let clients = if draw.chance(0.7) { 1 } else { 2 };
    scenario.clients = (1..=clients).map(|n| format!("visitor{n}")).collect();
    is_secure
}

/// Every peer proves itself to every other, with a certificate that says all that
/// it does. One more is there for whoever comes from outside.
pub(super) fn certify(scenario: &mut Scenario) {
    scenario.cas = vec![CA.to_owned()];
    let all = scenario.peers.values().flat_map(|peer| peer.services.keys());
    let all: Vec<String> = all.cloned().collect();
    // What hosts are dialled by, besides their own names.
    let dialled = scenario.peers.values().flat_map(|peer| &peer.connect);
    let dialled = dialled.filter_map(|to| to.split(':').next());
    let dialled: Vec<String> =
        dialled.filter(|to| !scenario.peers.contains_key(*to)).map(str::to_owned).collect();
    for (host, peer) in &mut scenario.peers {
        let mut names: Vec<String> = peer.services.keys().cloned().chain([host.clone()]).collect();
        if peer.listen.is_some() {
            names.extend(dialled.iter().cloned());
        }
        if !peer.transit.is_empty() {
            names.extend(all.iter().cloned());
        }
        names.sort();
        names.dedup();
        // It speaks for every instance of the peer.
        let id = peer.id.as_ref().and_then(|id| id.split('/').next()).map(str::to_owned);
        let certificate = CertificateSpec { names, peer: id, ..CertificateSpec::default() };
        scenario.certificates.insert(host.clone(), certificate);
        let (certificate, ca) = (Some(host.clone()), vec![CA.to_owned()]);
        peer.tls = Some(TlsSpec { certificate, ca, ..TlsSpec::default() });
    }
    let names = vec!["raw.example".to_owned()];
    let stranger = CertificateSpec { names, ..CertificateSpec::default() };
    scenario.certificates.insert(STRANGER.to_owned(), stranger);
}

/// A listening peer that serves and maps nothing yet.
pub(super) fn listening_peer(draw: &mut Draw) -> PeerSpec {
    PeerSpec { listen: Some(PORT), ..timing(draw) }
}

/// A peer that has nothing but its times.
pub(super) fn timing(draw: &mut Draw) -> PeerSpec {
    // Shorter than half of any peer timeout: refreshes must not come too late.
    let heartbeat = draw.between(300, 1_000);
    PeerSpec {
        heartbeat: Some(Time::from_millis(heartbeat)),
        peer_timeout: Some(draw.millis(2_500, 5_000)),
        // Mostly long enough for every way there and back.
        data_timeout: Some(match draw.chance(0.08) {
            true => draw.millis(500, 2_000),
            false => draw.millis(2_000, 5_000),
        }),
        drain_grace: Some(draw.millis(100, 2_000)),
        drain_limit: Some(draw.millis(500, 5_000)),
        name_retention: draw.chance(0.2).then(|| draw.millis(1_000, 5_000)),
        idle_data: draw.chance(0.5).then(|| draw.between(1, 8) as usize),
        ..PeerSpec::default()
    }
}

fn upstreams(draw: &mut Draw, listens: &[String], except: Option<&String>) -> Vec<String> {
    let others: Vec<&String> = listens.iter().filter(|host| Some(*host) != except).collect();
    let mut chosen = Vec::new();
    for host in others {
        // The first always, so that a connecting peer connects.
        if chosen.is_empty() || draw.chance(0.5) {
            chosen.push(format!("{host}:{PORT}"));
        }
    }
    chosen
}

/// Gives a peer some services, each with a backend of its own or of another.
fn serve(
    draw: &mut Draw,
    scenario: &mut Scenario,
    peer: &mut PeerSpec,
    names: &[&str],
    host: &str,
) {
    let mut services = BTreeMap::new();
    let first = draw.between(0, names.len() as u64 - 1) as usize;
    for (index, name) in names.iter().enumerate() {
        if index != first && !draw.chance(0.3) {
            continue;
        }
        // One backend a name keeps its kind the same at every provider.
        let backend = format!("back{index}");
        if !scenario.backends.contains_key(&backend) {
            scenario.backends.insert(backend.clone(), backend_spec(draw));
        }
        let own = draw.chance(0.2).then(|| format!("back{index}-{host}"));
        let backend = match own {
            Some(own) => {
                let spec = BackendSpec { delay: None, ..scenario.backends[&backend].clone() };
                scenario.backends.insert(own.clone(), spec);
                own
            }
            None => backend,
        };
        services.insert((*name).to_owned(), format!("{backend}:80"));
    }
    peer.services = services;
}

fn backend_spec(draw: &mut Draw) -> BackendSpec {
    let kind = match draw.between(0, 9) {
        0..=5 => BackendKind::Http,
        6..=8 => BackendKind::Echo,
        _ => BackendKind::Greeting,
    };
    BackendSpec {
        kind,
        port: 80,
        delay: draw.chance(0.3).then(|| draw.millis(1, 800)),
        rate: draw.chance(0.15).then(|| Size(draw.between(20_000, 200_000))),
        after: None,
        says: String::new(),
    }
}
