//! A name that is reached by UDP, too, and datagrams for it.
//!
//! Drawn apart from all else, which so stays as it is.

use std::collections::BTreeMap;

use super::draw::{Draw, STEPS_WITHIN};
use crate::scenario::steps::{Backend, Request, Via};
use crate::scenario::{BackendKind, BackendSpec, OfferSpec, Scenario, Size, Step, Time};

/// The port of the listening peers.
const PORT: u16 = 5300;

/// The host of the backend.
const BACKEND: &str = "datagrams";

/// Makes a different number of a seed.
const APART: u64 = 0x5544_5021;

/// Adds it to some scenarios; what clients ask for.
pub(super) fn draw(seed: u64, scenario: &mut Scenario) -> Vec<Step> {
    let mut draw = Draw::new(seed ^ APART);
    if draw.chance(0.6) || !reach(&mut draw, scenario) {
        return Vec::new();
    }
    let listens: Vec<String> = scenario
        .peers
        .iter()
        .filter(|(_, peer)| peer.listen.is_some())
        .map(|(h, _)| h.clone())
        .collect();
    let count = draw.between(1, 10);
    let mut steps: Vec<Step> = (0..count)
        .map(|_| {
            let (from, host) = (draw.one(&scenario.clients).clone(), draw.one(&listens).clone());
            let at = Some(draw.millis(0, STEPS_WITHIN));
            Step { at, ..Step::from(request(&mut draw, &from, &host)) }
        })
        .collect();
    if draw.chance(0.2) {
        steps.extend(refuse(&mut draw, &scenario.backends[BACKEND]));
    }
    steps
}

/// Gives a name a backend that speaks UDP at each of its providers, and a port to each
/// listening peer; false if there is no name for that.
fn reach(draw: &mut Draw, scenario: &mut Scenario) -> bool {
    let names = scenario.peers.values().flat_map(|peer| peer.services.keys());
    let names: Vec<String> = names.filter(|name| !name.starts_with('*')).cloned().collect();
    if names.is_empty() {
        return false;
    }
    let name = draw.one(&names).clone();
    let delay = draw.chance(0.3).then(|| draw.millis(1, 200));
    let (kind, port) = (BackendKind::Datagrams, 53);
    let spec = BackendSpec { kind, port, delay, rate: None, after: None, says: String::new() };
    scenario.backends.insert(BACKEND.to_owned(), spec);
    // Longer than an answer takes on the slowest way.
    let idle = draw.millis(2_000, 4_000);
    for peer in scenario.peers.values_mut() {
        peer.udp_idle = Some(idle);
        if peer.listen.is_some() {
            peer.udp.insert(PORT.to_string(), name.clone());
        }
        if peer.services.contains_key(&name) {
            let own = BTreeMap::from([("udp".to_owned(), format!("{BACKEND}:{port}"))]);
            peer.offers.insert(name.clone(), OfferSpec { own, ..OfferSpec::default() });
        }
    }
    true
}

/// Bytes of a datagram, twenty of which are more than may wait for a backend.
const LARGE: u64 = 60_000;

/// Datagrams from one address; some are empty.
fn request(draw: &mut Draw, from: &str, host: &str) -> Request {
    let mut request = Request::probe(from, &format!("{host}:{PORT}"), "", Via::Udp);
    let most = draw.between(1, 3_000);
    request.cuts = Some(Size(most));
    request.upload = Size(draw.between(0, 12) * most / draw.between(1, 3));
    request.download = Size(0);
    if draw.chance(0.3) {
        request.count = draw.between(2, 8) as u32;
        request.every = draw.chance(0.5).then(|| draw.millis(1, 500));
    }
    request.pipelined = draw.chance(0.3);
    if request.count == 1 && draw.chance(0.1) {
        request.pipelined = true;
        (request.cuts, request.upload) = (Some(Size(LARGE)), Size(20 * LARGE));
    }
    request
}

/// The backend is deaf for a while.
fn refuse(draw: &mut Draw, spec: &BackendSpec) -> [Step; 2] {
    let (begins, lasts) = (draw.between(0, STEPS_WITHIN), draw.between(100, 3_000));
    let change = |kind, delay, at| {
        let backend = Backend { host: BACKEND.to_owned(), kind, delay, rate: None, after: None };
        Step { at: Some(Time::from_millis(at)), ..Step::from(backend) }
    };
    [change(BackendKind::Refusing, None, begins), change(spec.kind, spec.delay, begins + lasts)]
}
