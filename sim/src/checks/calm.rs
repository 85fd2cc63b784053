//! Runs in which nothing is broken: there, nothing excuses a failure.

use std::time::Duration;

use ops_proxy::config::Endpoint;

use super::model::names_to_come;
use crate::client::{Ending, Outcome};
use crate::mesh::Mesh;
use crate::scenario::steps::{Answer, Exchange, Request, Via};
use crate::scenario::{Scenario, Step};

/// Names are up by then, however slow the network.
const UP_WITHIN: Duration = Duration::from_secs(3);

/// A DATA timeout within which every peer has answered, however slow the network.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// The data timeout of a peer that has no other.
const USUAL: Duration = Duration::from_secs(5);

/// Whether nothing is broken, and no deadline is too short.
pub(super) fn is_calm(scenario: &Scenario) -> bool {
    let harmless = |step: &Step| {
        // What a name means from the beginning on is no change.
        let first = step.at.is_some_and(|at| at.0.is_zero());
        let kinds = ["request", "expect", "checkpoint"];
        kinds.contains(&step.kind().key()) || first && step.dns.is_some()
    };
    let serves = scenario.backends.values().all(|backend| backend.kind.can_succeed());
    let timeouts = scenario.peers.values().map(|peer| peer.data_timeout.map_or(USUAL, |it| it.0));
    serves
        && timeouts.min().is_none_or(|shortest| shortest >= LONG_ENOUGH)
        && scenario.steps().all(harmless)
}

/// How many requests a connection may become at most: stretches of exchanges for one name
/// that a backend serves.
pub(super) fn most_stretches(scenario: &Scenario, request: &Request) -> u64 {
    let names = request.exchanges.iter().map(|exchange| exchange.plain_name());
    let names: Vec<String> = names.collect();
    let stretches = names.chunk_by(|a, b| a == b);
    stretches.filter(|stretch| !scenario.backends_of(&stretch[0]).is_empty()).count() as u64
}

/// How many stretches of its exchanges backends have answered.
pub(super) fn stretches_served(outcome: &Outcome) -> u64 {
    let exchanges = outcome.request.exchanges.iter().zip(&outcome.answers);
    let answered = exchanges.map(|(exchange, answer)| (exchange.plain_name(), answer.by_backend));
    let answered: Vec<(String, bool)> = answered.collect();
    let stretches = answered.chunk_by(|a, b| a.0 == b.0);
    stretches.filter(|stretch| stretch.iter().any(|one| one.1)).count() as u64
}

/// Whether the name of this port is served by anybody.
fn is_mapped(mesh: &Mesh, request: &Request) -> bool {
    let Some((host, port)) = request.to.split_once(':') else { return false };
    let name = mesh.scenario().peers.get(host).and_then(|peer| peer.udp.get(port));
    name.is_some_and(|name| names_to_come(mesh, host).contains(name))
}

/// Whether the last answer is a refusal behind which the connection must end: the peer did
/// not wait for the body, or the client has said that it is the last.
fn ends_when_refused(outcome: &Outcome) -> bool {
    let Outcome { request, answers, .. } = outcome;
    let ends = |exchange: &Exchange| {
        exchange.upload.0 > 0 || exchange.closes || exchange.answer == Answer::Upgrade
    };
    let last = request.exchanges.iter().zip(answers).next_back();
    last.is_some_and(|(exchange, answer)| !answer.by_backend && ends(exchange))
}

/// Whether more is asked behind an answer that the backend ends by closing: it has not read
/// that then, and the reset that follows may overtake what it has said (RFC 9112 §9.3.2).
fn may_be_overtaken(request: &Request) -> bool {
    let behind = request.exchanges.split_last().map_or(&[][..], |(_, before)| before);
    request.pipelined && behind.iter().any(|exchange| exchange.answer == Answer::UntilClose)
}

/// In a calm run, every datagram comes back, and every exchange is answered by the backend of its name, and those for
/// names that nobody serves with 404.
///
/// # Errors
/// What a client saw instead.
pub fn check_calm(mesh: &Mesh, outcome: &Outcome) -> Result<(), String> {
    let Outcome { request, answers, end, began, .. } = outcome;
    let left = matches!(end, Ending::Left | Ending::GaveUp);
    let is_udp = request.via == Via::Udp && *began >= UP_WITHIN && is_calm(mesh.scenario());
    if is_udp && !left && *end != Ending::Whole && is_mapped(mesh, request) {
        return Err(format!("nothing was broken but this: {outcome}"));
    }
    if request.exchanges.is_empty() || *began < UP_WITHIN || !is_calm(mesh.scenario()) {
        return Ok(());
    }
    let Ok(Endpoint { host, .. }) = request.to.parse() else { return Ok(()) };
    let known = names_to_come(mesh, &host);
    let wrong = request.exchanges.iter().zip(answers).find(|(exchange, answer)| {
        let name = exchange.plain_name();
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let is_known = known.contains(&name) || wildcard.is_some_and(|one| known.contains(&one));
        match (answer.status, answer.by_backend) {
            (_, true) => !is_known,
            (404, false) => is_known,
            (400, false) => exchange.fault.is_none(),
            (502, false) => !may_be_overtaken(request),
            _ => true,
        }
    });
    let is_over = match end {
        Ending::Whole => true,
        Ending::Closed => ends_when_refused(outcome) || may_be_overtaken(request),
        _ => left || may_be_overtaken(request),
    };
    match wrong {
        None if is_over => Ok(()),
        _ => Err(format!("nothing was broken but this: {outcome}")),
    }
}
