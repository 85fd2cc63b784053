//! One name in DNS for several listening peers, which come and go.
//!
//! Drawn apart from all else, so that scenarios without it stay as they are.

use super::draw::{Draw, STEPS_WITHIN};
use super::mesh::PORT;
use super::transit::more_hubs;
use crate::scenario::steps::{Dns, Request, Via};
use crate::scenario::{Scenario, Step, Time};

/// Makes a different number of a seed.
const APART: u64 = 0x444e_5321;

/// The name.
const NAME: &str = "hubs.internal";

/// Most listening peers behind it.
const MOST_HUBS: u64 = 4;

/// When a link to an address that is gone has certainly been given up, in milliseconds.
const GIVEN_UP: u64 = 170_000;

/// Has peers of some scenarios connect to one name in place of hosts; what becomes of it.
pub(super) fn draw(seed: u64, scenario: &mut Scenario) -> Vec<Step> {
    let mut draw = Draw::new(seed ^ APART);
    if !draw.chance(0.25) {
        return Vec::new();
    }
    let count = draw.between(2, MOST_HUBS) as usize;
    let hubs = more_hubs(&mut draw, scenario, count);
    connect(&mut draw, scenario);
    let at = |millis, hosts| {
        let step = Dns { name: NAME.to_owned(), hosts, ..Dns::default() };
        Step { at: Some(Time::from_millis(millis)), ..step.into() }
    };
    let mut steps = vec![at(0, some(&mut draw, &hubs))];
    let mut changes: Vec<u64> =
        (0..draw.between(0, 3)).map(|_| draw.between(1, STEPS_WITHIN)).collect();
    changes.sort_unstable();
    let last = changes.len().saturating_sub(1);
    for (index, millis) in changes.into_iter().enumerate() {
        let is_empty = index < last && draw.chance(0.2);
        let hosts = if is_empty { Vec::new() } else { some(&mut draw, &hubs) };
        steps.push(at(millis, hosts));
    }
    if steps.len() > 1 && draw.chance(0.08) {
        steps.push(late(&mut draw, scenario, &hubs));
    }
    steps
}

/// One peer at least connects to the name; some to a host behind it besides, and some of
/// those that listen to themselves among others.
fn connect(draw: &mut Draw, scenario: &mut Scenario) {
    let to = format!("{NAME}:{PORT}");
    let mut is_first = true;
    for peer in scenario.peers.values_mut().filter(|peer| !peer.connect.is_empty()) {
        let is_site = peer.listen.is_none();
        let is_chosen = draw.chance(if is_site { 0.7 } else { 0.3 });
        if !is_chosen && (!is_site || !is_first) {
            continue;
        }
        is_first &= !is_site;
        if !draw.chance(0.2) {
            peer.connect.clear();
        }
        peer.connect.push(to.clone());
    }
}

/// Some of the listening peers, at least one.
fn some(draw: &mut Draw, hubs: &[String]) -> Vec<String> {
    let one = draw.one(hubs).clone();
    let mut some: Vec<String> =
        hubs.iter().filter(|hub| **hub == one || draw.chance(0.6)).cloned().collect();
    some.sort();
    some
}

/// A request so late that links that were to be given up are.
fn late(draw: &mut Draw, scenario: &Scenario, hubs: &[String]) -> Step {
    let names: Vec<&String> =
        scenario.peers.values().flat_map(|peer| peer.services.keys()).collect();
    let (hub, name) = (draw.one(hubs), draw.one(&names).replace('*', "any"));
    let from = &scenario.clients[0];
    let request = Request::probe(from, &format!("{hub}:{PORT}"), &name, Via::Http);
    // Its backend may be one that does not speak HTTP.
    let request = Request { patience: Some(Time::from_millis(5_000)), ..request };
    Step { at: Some(Time::from_millis(GIVEN_UP)), ..request.into() }
}
