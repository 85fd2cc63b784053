//! Services whose backends are checked.

use super::draw::Draw;
use crate::scenario::steps::Backend;
use crate::scenario::{BackendKind, HealthSpec, OfferSpec, Scenario, Step, Time};

/// Between two checks, and how long one may take: enough on the slowest network.
const EVERY: Time = Time::from_millis(3_000);

/// An outage begins within this time of the start, in milliseconds.
const OUTAGE_WITHIN: u64 = 3_000;

/// And lasts for so long: longer than any service takes to be withdrawn.
const OUTAGE: u64 = 20_000;

/// Has some services checked, and the backend of one fail for a while. Chance of its own:
/// all else stays what it is without checks.
pub(super) fn draw(seed: u64, scenario: &mut Scenario) -> Vec<Step> {
    let draw = &mut Draw::new(!seed);
    if !draw.chance(0.3) {
        return Vec::new();
    }
    let Scenario { peers, backends, .. } = scenario;
    let mut checked = Vec::new();
    for peer in peers.values_mut() {
        for (name, backend) in &peer.services {
            if !draw.chance(0.7) {
                continue;
            }
            let host = backend.split(':').next().unwrap_or_default();
            let quick = |host| {
                backends.get(host).is_some_and(|spec| {
                    spec.kind == BackendKind::Http && spec.rate.is_none() && spec.delay.is_none()
                })
            };
            let by_http = quick(host) && !name.starts_with('*') && draw.chance(0.6);
            let health = HealthSpec {
                http: by_http.then(|| "/healthz".to_owned()),
                expect: None,
                every: Some(EVERY),
                timeout: Some(EVERY),
                fall: Some(draw.between(1, 2) as u32),
                rise: Some(draw.between(1, 3) as u32),
            };
            let offer = OfferSpec { health: Some(health), ..OfferSpec::default() };
            peer.offers.insert(name.clone(), offer);
            checked.push(host.to_owned());
        }
    }
    if checked.is_empty() || !draw.chance(0.5) {
        return Vec::new();
    }
    let host = draw.one(&checked).clone();
    let spec = &backends[&host];
    let good =
        Backend { host, kind: spec.kind, delay: spec.delay, rate: spec.rate, after: spec.after };
    let bad = Backend { kind: BackendKind::Refusing, ..good.clone() };
    let begins = draw.between(0, OUTAGE_WITHIN);
    let at = |millis, step: Backend| Step { at: Some(Time::from_millis(millis)), ..step.into() };
    vec![at(begins, bad), at(begins + OUTAGE, good)]
}
