//! Listening peers that pass on what others register with them: chains, trees, rings, and
//! each with all.
//!
//! Drawn apart from all else, so that scenarios without them stay as they are.

use super::draw::{Draw, MOST_PEERS};
use super::mesh::{PORT, listening_peer};
use crate::scenario::{Scenario, Time};

/// Makes a different number of a seed.
const APART: u64 = 0x4f4e_5741_5244;

/// Most of them in one mesh.
const MOST_HUBS: u64 = 5;

/// Most of them where each is connected to all others.
const MOST_IN_FULL: usize = 4;

/// From one host to another, in milliseconds: a request takes this way many times.
const MOST_LATENCY: u64 = 20;

/// How they are connected.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Chain,
    Tree,
    Ring,
    BothWays,
    Full,
}

const SHAPES: [Shape; 5] = [Shape::Chain, Shape::Tree, Shape::Ring, Shape::BothWays, Shape::Full];

/// What is passed on: mostly everything.
const PATTERNS: [&str; 6] = ["*", "*", "*", "*.example", "a.example", "*.wild.example"];

/// Makes the listening peers of some scenarios pass names on.
pub(super) fn draw(seed: u64, scenario: &mut Scenario) {
    let mut draw = Draw::new(seed ^ APART);
    if !draw.chance(0.3) {
        return;
    }
    let hubs = draw.between(2, MOST_HUBS) as usize;
    let hubs = more_hubs(&mut draw, scenario, hubs);
    let shape = *draw.one(&SHAPES);
    for (index, hub) in hubs.iter().enumerate() {
        let to = upstreams(&mut draw, shape, index, hubs.len());
        let patterns =
            if draw.chance(0.9) { vec![draw.one(&PATTERNS).to_string()] } else { vec![] };
        // Each hop gives up in time only if it has some.
        let data_timeout = draw.millis(4_000, 8_000);
        let Some(peer) = scenario.peers.get_mut(hub) else { continue };
        peer.connect = to.into_iter().map(|index| format!("{}:{PORT}", hubs[index])).collect();
        peer.transit = if peer.connect.is_empty() { Vec::new() } else { patterns };
        peer.data_timeout = Some(data_timeout);
        if peer.connect.is_empty() {
            peer.idle_data = None;
        }
    }
    for peer in scenario.peers.values_mut().filter(|peer| peer.listen.is_none()) {
        let mut to = vec![draw.one(&hubs).clone()];
        let other = draw.one(&hubs).clone();
        if draw.chance(0.3) && !to.contains(&other) {
            to.push(other);
        }
        peer.connect = to.into_iter().map(|hub| format!("{hub}:{PORT}")).collect();
    }
    let network = &mut scenario.network;
    let latency = network.latency.0.min(Time::from_millis(MOST_LATENCY).0);
    network.latency = Time(latency);
    network.latency_max = network.latency_max.map(|_| Time(latency * 3));
}

/// At least so many listening peers, as far as there is room.
pub(super) fn more_hubs(draw: &mut Draw, scenario: &mut Scenario, count: usize) -> Vec<String> {
    let listens = |scenario: &Scenario| -> Vec<String> {
        let listening = scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some());
        listening.map(|(host, _)| host.clone()).collect()
    };
    let ports = scenario.peers.values().find(|peer| peer.listen.is_some());
    let ports = ports.map(|peer| peer.tcp.clone()).unwrap_or_default();
    for number in listens(scenario).len() + 1..=count {
        if scenario.peers.len() >= MOST_PEERS {
            // One that connects makes room, if it is not the only one.
            let (last, others) = {
                let mut sites = scenario.peers.iter().filter(|(_, peer)| peer.listen.is_none());
                (sites.next_back().map(|(host, _)| host.clone()), sites.count())
            };
            match last.filter(|_| others > 0) {
                Some(last) => scenario.peers.remove(&last),
                None => break,
            };
        }
        let mut peer = listening_peer(draw);
        peer.tcp = ports.clone();
        scenario.peers.insert(format!("edge{number}"), peer);
    }
    listens(scenario)
}

/// To which of `count` others the peer at `index` connects.
fn upstreams(draw: &mut Draw, shape: Shape, index: usize, count: usize) -> Vec<usize> {
    let others = (0..count).filter(|other| *other != index);
    let mut to: Vec<usize> = match shape {
        Shape::Chain => others.filter(|other| other + 1 == index).collect(),
        Shape::Tree if index > 0 => vec![draw.between(0, index as u64 - 1) as usize],
        Shape::Tree => Vec::new(),
        Shape::Full if count <= MOST_IN_FULL => others.collect(),
        Shape::Ring => vec![(index + 1) % count],
        Shape::BothWays | Shape::Full => {
            vec![(index + 1) % count, (index + count - 1) % count]
        }
    };
    to.sort_unstable();
    to.dedup();
    to.retain(|other| *other != index);
    to
}
