//! Those who come from outside and do not behave.

use std::collections::BTreeSet;

use super::draw::Draw;
use super::mesh::{PORT, STRANGER};
use crate::scenario::steps::{Close, Hold, Raw, Release, Request, Via};
use crate::scenario::{BackendKind, PeerSpec, Scenario, Step, Time};

/// A stranger who knows a proxy id in time: the way to a backend is held, so that
/// the id waits, and before the rightful DATA connection comes another.
pub(super) fn theft(
    draw: &mut Draw,
    scenario: &Scenario,
    number: u64,
    begins: u64,
    busy: &mut BTreeSet<String>,
) -> Option<Vec<Step>> {
    let serves = |peer: &PeerSpec| !peer.connect.is_empty() && !peer.services.is_empty();
    let sites: Vec<(&String, &PeerSpec)> =
        scenario.peers.iter().filter(|(_, peer)| serves(peer)).collect();
    let (host, peer) = *draw.one(&sites);
    let services: Vec<(&String, &String)> = peer.services.iter().collect();
    let (name, backend) = *draw.one(&services);
    let backend = backend.split(':').next()?.to_owned();
    let via = match scenario.backends.get(&backend)?.kind {
        BackendKind::Http => Via::Http,
        BackendKind::Echo => Via::Tls,
        // Whoever waits to be greeted cannot tell who greets.
        _ => return None,
    };
    let way = [host.clone(), backend];
    if !busy.insert(way.concat()) {
        return None;
    }
    let is_host =
        |to: &&String| to.split(':').next().is_some_and(|to| scenario.peers.contains_key(to));
    let hosts: Vec<&String> = peer.connect.iter().filter(is_host).collect();
    let to = match hosts.is_empty() {
        true => format!("{}:{PORT}", listening(draw, scenario)),
        false => draw.one(&hosts).to_string(),
    };
    let from = draw.one(&scenario.clients).clone();
    // A stranger of this host may have registered the name: then the thief's DATA is
    // rightful, and the answer never comes.
    let patience = Some(Time::from_millis(30_000));
    let probe = Request::probe(&from, &to, &name.replace('*', "any"), via);
    let request = Request { patience, ..probe };
    let thief = Raw {
        conn: format!("thief{number}"),
        from: Some(from),
        to: Some(to),
        send: (*draw.one(&[
            "DATA:{forward:last}\nnot what was asked for",
            "HELLO:1:stranger\nFAIL:{forward:last}:backend_refused\n",
        ]))
        .to_owned(),
        certificate: stranger(draw, scenario),
        hex: String::new(),
        repeat: None,
        every: None,
        deaf: false,
        close: draw.chance(0.5).then_some(Close::Half),
    };
    let at = |millis, step: Step| Step { at: Some(Time::from_millis(millis)), ..step };
    Some(vec![
        at(begins, Hold(way.clone()).into()),
        at(begins + 20, request.into()),
        at(begins + draw.between(100, 900), thief.into()),
        at(begins + 1_500, Release(way).into()),
    ])
}

/// Where peers speak TLS, a stranger mostly does so too.
fn stranger(draw: &mut Draw, scenario: &Scenario) -> Option<String> {
    let certificate = scenario.certificates.get_key_value(STRANGER)?.0;
    draw.chance(0.7).then(|| certificate.clone())
}

/// A peer that listens.
fn listening(draw: &mut Draw, scenario: &Scenario) -> String {
    let listens: Vec<&String> =
        scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some()).map(|(h, _)| h).collect();
    draw.one(&listens).to_string()
}

/// A stranger on the listening address.
pub(super) fn raw(draw: &mut Draw, scenario: &Scenario, number: u64) -> Raw {
    let host = listening(draw, scenario);
    let texts = [
        "DATA:00000000000000000000000000000000\n",
        "DATA:{forward:last}\n",
        "DATA:{forward:1}\nand some payload",
        "DATA:short\n",
        "DATA:",
        "HELLO:2:stranger\n",
        "HELLO:1:stranger\nREGISTER:_bad\n",
        "HELLO:1:stranger\nFORWARD:00000000000000000000000000000000:a:http:1.2.3.4:5\n",
        "HELLO:1:stranger\nFAIL:{forward:last}:backend_refused\n",
        "HELLO:1:stranger\nREGISTER:raw.example,a.example\n",
        "HELLO:1:stranger\nREGISTER:a.example\n",
        "HELLO:1:stranger\nREGISTER:raw.example\nUNREGISTER:raw.example\n",
        "HELLO:1:site1\nREGISTER:raw.example\n",
        "HELLO:",
        "NOISE\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.exam",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "\u{16}\u{3}\u{1}",
    ];
    Raw {
        conn: format!("raw{number}"),
        from: Some(draw.one(&scenario.clients).clone()),
        to: Some(format!("{host}:{PORT}")),
        certificate: stranger(draw, scenario),
        hex: String::new(),
        send: (*draw.one(&texts)).to_owned(),
        repeat: draw.chance(0.1).then(|| draw.between(2, 3_000) as u32),
        every: draw.chance(0.1).then(|| draw.millis(1, 300)),
        deaf: draw.chance(0.1),
        close: draw.chance(0.4).then(|| *draw.one(&[Close::End, Close::Reset, Close::Half])),
    }
}
