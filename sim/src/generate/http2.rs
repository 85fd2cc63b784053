//! Clients that speak HTTP/2.
//!
//! Drawn apart from all else, which so stays as it is.

use super::draw::{Draw, STEPS_WITHIN};
use super::exchanges::size;
use super::mesh::PORT;
use super::names::asked;
use crate::scenario::steps::{Answer, Exchange, Request, Via};
use crate::scenario::{BackendKind, Scenario, Size, Step, Time};

/// Makes a different number of a seed.
const APART: u64 = 0x4832_4832;

/// Most streams of one connection: those before fill the table of fields.
const MOST_STREAMS: u64 = 9;

/// Most bytes of one body: more than a stream may have under way.
const MOST_BYTES: u64 = 100_000;

/// What such clients ask for, in some scenarios.
pub(super) fn draw(seed: u64, scenario: &Scenario) -> Vec<Step> {
    let mut draw = Draw::new(seed ^ APART);
    let names: Vec<&String> = names(scenario);
    if names.is_empty() || draw.chance(0.5) {
        return Vec::new();
    }
    let listens: Vec<&String> =
        scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some()).map(|(h, _)| h).collect();
    let count = draw.between(1, 8);
    (0..count)
        .map(|_| {
            let (from, host) = (draw.one(&scenario.clients).clone(), *draw.one(&listens));
            let at = Some(draw.millis(0, STEPS_WITHIN));
            Step { at, ..Step::from(request(&mut draw, &names, from, host)) }
        })
        .collect()
}

/// The names of HTTP backends.
fn names(scenario: &Scenario) -> Vec<&String> {
    let is_http = |backend: &String| {
        let host = backend.split(':').next().and_then(|host| scenario.backends.get(host));
        host.is_some_and(|spec| spec.kind == BackendKind::Http)
    };
    let services = scenario.peers.values().flat_map(|peer| &peer.services);
    services.filter(|(_, backend)| is_http(backend)).map(|(name, _)| name).collect()
}

fn request(draw: &mut Draw, names: &[&String], from: String, host: &str) -> Request {
    let mut request = Request::probe(&from, &format!("{host}:{PORT}"), "", Via::Http2);
    (request.upload, request.download) = (Size(0), Size(0));
    request.half_close = draw.chance(0.3);
    request.pipelined = draw.chance(0.5);
    request.awaits_settings = draw.chance(0.25);
    let name = *draw.one(names);
    let written = asked(draw, name);
    let count = draw.between(1, MOST_STREAMS);
    let exchanges = (0..count).map(|_| match draw.between(0, 39) {
        0 => exchange(draw, names[0].replace('*', "any")),
        // However it is written.
        1..=4 => exchange(draw, name.replace('*', "ANY")),
        _ => exchange(draw, written.clone()),
    });
    request.exchanges = exchanges.collect();
    request.cuts = draw.chance(0.3).then(|| Size(*draw.one(&[3, 40, 700])));
    // So few bytes that it is not a matter of minutes.
    if request.cuts.is_some_and(|most| most.0 < 700) {
        request.exchanges.iter_mut().for_each(|one| one.upload.0 = one.upload.0.min(300));
    }
    if draw.chance(0.1) {
        request.read_rate = Some(Size(draw.between(20_000, 100_000)));
    }
    if draw.chance(0.08) {
        request.abort_after = Some(Size(draw.between(1, 20_000)));
    }
    if draw.chance(0.1) {
        request.patience = Some(Time::from_millis(draw.between(1, 3_000)));
    }
    if draw.chance(0.2) {
        request.count = draw.between(2, 5) as u32;
        request.every = draw.chance(0.5).then(|| draw.millis(1, 500));
    }
    request
}

fn exchange(draw: &mut Draw, name: String) -> Exchange {
    let (upload, download) = (size(draw, MOST_BYTES), size(draw, MOST_BYTES));
    let mut exchange = Exchange { name, upload, download, ..Exchange::default() };
    exchange.answer = match draw.between(0, 9) {
        0..=3 => Answer::Length,
        4..=7 => Answer::Chunked,
        8 => Answer::NoContent,
        _ => Answer::NotModified,
    };
    exchange.interim = if draw.chance(0.15) { draw.between(1, 2) as u32 } else { 0 };
    if draw.chance(0.15) {
        exchange.method = Some("HEAD".to_owned());
        exchange.upload = Size(0);
    }
    exchange.chunked = draw.chance(0.4);
    exchange.expects = exchange.upload.0 > 0 && draw.chance(0.15);
    exchange.resets_after = draw.chance(0.1).then(|| Size(draw.between(0, 30_000)));
    exchange
}
