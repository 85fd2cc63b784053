//! Backends that are told who their clients are, clients that tell them something else, and a
//! trusted proxy that speaks for others.
//!
//! Drawn apart from all else, which so stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::draw::Draw;
use crate::scenario::steps::{Request, Via};
use crate::scenario::{OfferSpec, Scenario, Step};

/// Makes a different number of a seed.
const APART: u64 = 0x544f_4c44;

/// The host of the trusted proxy.
const PROXY: &str = "balancer";

/// What clients say of clients.
const CLAIMS: [&str; 8] = [
    "X-Forwarded-For: 203.0.113.66",
    "x-forwarded-for: 203.0.113.67, 203.0.113.68",
    "Forwarded: for=203.0.113.66;proto=https",
    "X_Forwarded_Proto: https",
    "X-Forwarded-Host: bank.example",
    "X-Forwarded-Port: 443",
    "X-Request-Id: mine",
    "x_request_id: 00000000000000000000000000000000.1",
];

/// Whom the proxy speaks for.
const BEHIND: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 200)];

/// Has the backends of some names told, and gives clients something to say themselves. What
/// refers to hosts is complete: the proxy is the last of them.
pub(super) fn draw(seed: u64, scenario: &mut Scenario, steps: &mut [Step]) {
    let draw = &mut Draw::new(seed ^ APART);
    if draw.chance(0.4) {
        return;
    }
    let names: BTreeSet<String> =
        scenario.peers.values().flat_map(|peer| peer.services.keys().cloned()).collect();
    let told: BTreeSet<String> = names.into_iter().filter(|_| draw.chance(0.8)).collect();
    let differ = draw.chance(0.1);
    for peer in scenario.peers.values_mut() {
        if !differ || draw.chance(0.5) {
            tell(&told, &peer.services, &mut peer.offers);
        }
    }
    for step in steps.iter_mut().filter_map(|step| step.configure.as_mut()) {
        let Some(peer) = scenario.peers.get(&step.peer) else { continue };
        let tells = |name: &String| peer.offers.get(name).is_some_and(|offer| offer.forwarded);
        let told = step.services.keys().filter(|name| tells(name)).cloned().collect();
        tell(&told, &step.services, &mut step.offers);
    }
    let is_spoken_for = draw.chance(0.25);
    if is_spoken_for {
        trust(scenario);
    }
    let is_peer = |to: &str| scenario.peers.contains_key(to.split(':').next().unwrap_or_default());
    let requests = steps.iter_mut().filter_map(|step| step.request.as_mut());
    for request in requests.filter(|one| one.via == Via::Http && is_peer(&one.to)) {
        if draw.chance(0.5) {
            claim(draw, request);
        }
        if is_spoken_for && draw.chance(0.4) {
            request.from = PROXY.to_owned();
            request.speaks_for = Some(*draw.one(&BEHIND));
        }
    }
}

/// The backends of these names are told.
fn tell(
    names: &BTreeSet<String>,
    services: &BTreeMap<String, String>,
    offers: &mut BTreeMap<String, OfferSpec>,
) {
    for name in services.keys().filter(|name| names.contains(*name)) {
        offers.entry(name.clone()).or_default().forwarded = true;
    }
}

/// All listening peers trust one more host.
fn trust(scenario: &mut Scenario) {
    scenario.clients.push(PROXY.to_owned());
    // Hosts have their addresses in their order.
    let last = scenario.hosts().count();
    for peer in scenario.peers.values_mut().filter(|peer| peer.listen.is_some()) {
        peer.trusted_proxies = vec![format!("192.168.0.{last}/32")];
    }
}

/// Some of the claims, each at most once.
fn claim(draw: &mut Draw, request: &mut Request) {
    let count = draw.between(1, 3);
    let claims: BTreeSet<&str> = (0..count).map(|_| *draw.one(&CLAIMS)).collect();
    request.claims = claims.into_iter().map(str::to_owned).collect();
}
