//! What must become of a request where nothing that it depends on is broken: there, nothing
//! excuses a failure.

use std::collections::BTreeSet;
use std::time::Duration;

use ops_proxy::config::Endpoint;
use ops_proxy::limits::UDP_WAITING_BYTES;

use super::model::names_to_come;
use super::pace::answers_within;
use crate::client::{Ending, Outcome, is_hello_taken};
use crate::mesh::Mesh;
use crate::scenario::steps::{Answer, Exchange, Request, Via, plain_name};
use crate::scenario::{Scenario, Step, serves_for};

/// Behind what a peer needs to answer, names are up after this time.
const UP_BEHIND: Duration = Duration::from_secs(1);

/// The data timeout of a peer that has no other.
const USUAL: Duration = Duration::from_secs(5);

/// The alert for a ClientHello that is too long (RFC 8446 §6.2).
const DECODE_ERROR: u8 = 50;

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
        && timeouts.min().is_none_or(|shortest| shortest >= answers_within(scenario))
        && scenario.steps().all(harmless)
}

/// How many requests a connection may become at most: stretches of exchanges for one name
/// that a backend serves. In HTTP/2, it is one for the first name.
pub(super) fn most_stretches(scenario: &Scenario, request: &Request) -> u64 {
    if request.via == Via::Http2 {
        return request
            .exchanges
            .first()
            .map_or(0, |first| u64::from(!scenario.backends_of(&first.plain_name()).is_empty()));
    }
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

/// How far it is known what becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One thing only.
    Certain,
    /// It depends on this.
    Open(&'static str),
}

/// The names that a request asks for at a listening peer.
fn names_of(mesh: &Mesh, host: &str, request: &Request) -> Vec<String> {
    if !request.exchanges.is_empty() {
        return request.exchanges.iter().map(Exchange::plain_name).collect();
    }
    let port = request.to.rsplit_once(':').map_or("", |(_, port)| port);
    let peer = mesh.scenario().peers.get(host);
    let mapped = match request.via {
        Via::Tcp => peer.and_then(|peer| peer.tcp.get(port)),
        Via::Udp => peer.and_then(|peer| peer.udp.get(port)),
        // It would have two ports, and a server name has none.
        Via::Connect | Via::Tls if request.name.contains(':') => None,
        Via::Http | Via::Http2 | Via::Connect | Via::Tls => {
            return vec![plain_name(&request.name)];
        }
    };
    mapped.into_iter().cloned().collect()
}

/// Where nothing is broken, or nothing that a request for some names at a listening peer depends
/// on, so that it could `rely` on those that are served, every byte and every datagram comes
/// back, every exchange is answered by the backend of its name, and those for names that nobody
/// serves with 404.
///
/// # Errors
/// What a client saw instead.
pub(super) fn judge(
    mesh: &Mesh,
    outcome: &Outcome,
    rely: impl FnOnce(&str, &[String]) -> Result<BTreeSet<String>, &'static str>,
) -> Result<Verdict, String> {
    let Outcome { request, end, began, .. } = outcome;
    let scenario = mesh.scenario();
    let Ok(Endpoint { host, .. }) = request.to.parse() else {
        return Ok(Verdict::Open("no listening peer"));
    };
    let names = names_of(mesh, &host, request);
    if names.is_empty() {
        return Ok(Verdict::Open("no name"));
    }
    let is_late = *began >= answers_within(scenario) + UP_BEHIND;
    let is_calm = is_calm(scenario) && is_late;
    // Who wrote it knows what else it is about: networks, hellos that are none.
    if request.expect.is_some() && (request.exchanges.is_empty() || !is_calm) {
        return Ok(Verdict::Open("as is expected"));
    }
    let known = match is_calm {
        true => names_to_come(mesh, &host),
        false => match rely(&host, &names) {
            Ok(known) => known,
            Err(why) => return Ok(Verdict::Open(why)),
        },
    };
    let is_known = |name: &String| known.iter().any(|one| serves_for(one, name));
    let left = matches!(end, Ending::Left | Ending::GaveUp);
    let is_good = match request.via {
        Via::Http2 => are_of_one_name(outcome, is_known),
        _ if !request.exchanges.is_empty() => are_answered(outcome, is_known),
        Via::Tls if !is_hello_taken(request) => left || *end == Ending::Alert(DECODE_ERROR),
        Via::Http if !is_known(&names[0]) => left || *end == Ending::Status(404),
        _ if !is_known(&names[0]) => return Ok(Verdict::Open("how it is refused")),
        Via::Http => match mesh.answers_by(&names[0]) {
            Some(Via::Http) => left || matches!(end, Ending::Status(200..=299)),
            _ => return Ok(Verdict::Open("backends of several kinds")),
        },
        Via::Udp if request.pipelined && request.upload.0 >= UDP_WAITING_BYTES as u64 => {
            return Ok(Verdict::Open("more datagrams than may wait"));
        }
        Via::Udp => left || *end == Ending::Whole,
        Via::Connect | Via::Tls | Via::Tcp => match mesh.answers_by(&names[0]) {
            Some(Via::Connect) => left || *end == Ending::Whole,
            _ => return Ok(Verdict::Open("backends of several kinds")),
        },
    };
    match is_good {
        true => Ok(Verdict::Certain),
        false => Err(format!("nothing was broken but this: {outcome}")),
    }
}

/// Whether each stream of a connection of HTTP/2 got its answer. One for another name than the
/// first ends the connection: a reset, which may overtake answers that are under way.
fn are_of_one_name(outcome: &Outcome, is_known: impl Fn(&String) -> bool) -> bool {
    let Outcome { request, answers, end, .. } = outcome;
    let names: Vec<String> = request.exchanges.iter().map(Exchange::plain_name).collect();
    let of_one = names.iter().take_while(|name| **name == names[0]).count();
    let is_known = is_known(&names[0]);
    let right = answers.iter().all(|answer| match (answer.status, answer.by_backend) {
        (_, true) => is_known,
        (404, false) => !is_known,
        _ => false,
    });
    let is_over = match end {
        Ending::Whole => of_one == names.len() && (is_known || names.len() == 1),
        Ending::Closed => !is_known && names.len() > 1,
        Ending::Failed(_) if is_known && of_one < names.len() => {
            answers.len() == of_one || request.pipelined && answers.len() < of_one
        }
        end => matches!(end, Ending::Left | Ending::GaveUp),
    };
    right && is_over
}

/// Whether each exchange got its answer, and the connection ended as it should.
fn are_answered(outcome: &Outcome, is_known: impl Fn(&String) -> bool) -> bool {
    let Outcome { request, answers, end, .. } = outcome;
    let right = request.exchanges.iter().zip(answers).all(|(exchange, answer)| {
        let is_known = is_known(&exchange.plain_name());
        match (answer.status, answer.by_backend) {
            (_, true) => is_known,
            (404, false) => !is_known,
            (400, false) => exchange.fault.is_some(),
            (502, false) => may_be_overtaken(request),
            _ => false,
        }
    });
    let left = matches!(end, Ending::Left | Ending::GaveUp);
    let is_over = match end {
        Ending::Whole => true,
        Ending::Closed => ends_when_refused(outcome) || may_be_overtaken(request),
        _ => left || may_be_overtaken(request),
    };
    right && is_over
}
