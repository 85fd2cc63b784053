//! What the public wants.

use super::draw::{Draw, STEPS_WITHIN};
use super::exchanges;
use super::mesh::PORT;
use super::names::asked;
use crate::scenario::steps::{Request, Talk, Via};
use crate::scenario::{BackendKind, Scenario, Size, Step, Time};

/// When the last client leaves a mute backend.
const LONGEST_PATIENCE: Time = Time::from_millis(20_000);

/// Most bytes of one payload.
const MOST_BYTES: u64 = 300_000;

pub(super) fn draw(draw: &mut Draw, scenario: &Scenario) -> Vec<Step> {
    let heat = *draw.one(&[3, 10, 25]);
    (0..draw.between(1, heat)).map(|_| step(draw, scenario)).collect()
}

/// A backend that never says anything keeps nobody waiting for ever, nor does one
/// that no longer greets: where there is one, everybody leaves in the end.
pub(super) fn grow_patient(steps: &mut [Step]) {
    let silent = [BackendKind::Mute, BackendKind::Resetting];
    let mute = |step: &Step| step.backend.as_ref().is_some_and(|to| silent.contains(&to.kind));
    if steps.iter().any(mute) {
        for request in steps.iter_mut().filter_map(|step| step.request.as_mut()) {
            request.patience = request.patience.or(Some(LONGEST_PATIENCE));
        }
    }
}

fn step(draw: &mut Draw, scenario: &Scenario) -> Step {
    let at = draw.millis(0, STEPS_WITHIN);
    Step { at: Some(at), ..Step::from(request(draw, scenario)) }
}

fn request(draw: &mut Draw, scenario: &Scenario) -> Request {
    let listens: Vec<&String> =
        scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some()).map(|(h, _)| h).collect();
    let host = (*draw.one(&listens)).clone();
    let from = draw.one(&scenario.clients).clone();
    let names: Vec<(&String, &String)> =
        scenario.peers.values().flat_map(|peer| &peer.services).collect();
    let (name, backend) = *draw.one(&names);
    let kind = kind_of(scenario, backend);
    let via = via(draw, kind);
    let mut request = Request::probe(&from, &format!("{host}:{PORT}"), &asked(draw, name), via);
    if via == Via::Tcp {
        match scenario.peers[&host].tcp.iter().find(|(_, mapped)| *mapped == name) {
            Some((port, _)) => {
                request.to = format!("{host}:{port}");
                request.name.clear();
            }
            None => request.via = Via::Connect,
        }
    }
    if kind == BackendKind::Greeting {
        request.talk = Talk::Greeting;
    }
    sizes(draw, &mut request);
    manner(draw, &mut request);
    if via == Via::Http && draw.chance(0.6) {
        let is_http = |backend: &String| kind_of(scenario, backend) == BackendKind::Http;
        let http: Vec<&String> =
            names.iter().filter(|(_, backend)| is_http(backend)).map(|one| one.0).collect();
        exchanges::draw(draw, &mut request, &http);
    }
    request
}

fn kind_of(scenario: &Scenario, backend: &str) -> BackendKind {
    let backend = backend.split(':').next().and_then(|host| scenario.backends.get(host));
    backend.map_or(BackendKind::Http, |backend| backend.kind)
}

fn via(draw: &mut Draw, kind: BackendKind) -> Via {
    match kind {
        BackendKind::Http => Via::Http,
        _ => *draw.one(&[Via::Tls, Via::Connect, Via::Tcp]),
    }
}

fn sizes(draw: &mut Draw, request: &mut Request) {
    let mut size = || match draw.between(0, 9) {
        0 => Size(0),
        1..=6 => Size(draw.between(1, 2_000)),
        _ => Size(draw.between(2_000, MOST_BYTES)),
    };
    request.upload = size();
    request.download = if request.via == Via::Http { size() } else { Size(0) };
    if request.via == Via::Http && request.upload.0 > 0 {
        request.method = Some("POST".to_owned());
    }
}

fn manner(draw: &mut Draw, request: &mut Request) {
    if draw.chance(0.3) {
        request.count = draw.between(2, 8) as u32;
        request.every = draw.chance(0.5).then(|| draw.millis(1, 500));
    }
    if request.via == Via::Http {
        request.keep_alive = if draw.chance(0.2) { draw.between(2, 5) as u32 } else { 1 };
    } else {
        request.half_close = draw.chance(0.6);
    }
    request.split = request.upload.0 < 500 && draw.chance(0.1);
    if draw.chance(0.1) {
        request.read_rate = Some(Size(draw.between(20_000, 100_000)));
    }
    if draw.chance(0.1) {
        request.abort_after = Some(Size(draw.between(1, 20_000)));
    }
    if draw.chance(0.15) {
        request.patience = Some(Time::from_millis(draw.between(1, 3_000)));
    }
}
