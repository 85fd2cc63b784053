//! What is done to a mesh.

use std::collections::BTreeSet;

use super::mesh::{PORT, STRANGER};
use super::{Draw, STEPS_WITHIN};
use crate::files::File;
use crate::scenario::{BackendKind, PeerSpec, Scenario, Size, Time, TlsSpec};
use crate::steps::{
    Backend, Close, Crash, Dns, Drain, Heal, Hold, How, Latency, Partition, Raw, Release, Reload,
    Replace, Request, Restart, Step, Stop, Via,
};

/// The kinds of faults that a run may have, each drawn or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Hold,
    Partition,
    Crash,
    Backend,
    Latency,
    Dns,
    Drain,
    Raw,
    Theft,
    Files,
}

const KINDS: [Kind; 10] = [
    Kind::Hold,
    Kind::Partition,
    Kind::Crash,
    Kind::Backend,
    Kind::Latency,
    Kind::Dns,
    Kind::Drain,
    Kind::Raw,
    Kind::Theft,
    Kind::Files,
];

pub(super) fn draw(draw: &mut Draw, scenario: &Scenario) -> Vec<Step> {
    let share = *draw.one(&[0.0, 0.2, 0.5, 1.0]);
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| draw.chance(share)).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let heat = *draw.one(&[1, 4, 12]);
    let mut busy = BTreeSet::new();
    let mut steps = Vec::new();
    for number in 0..draw.between(1, heat) {
        let kind = *draw.one(&kinds);
        steps.extend(fault(draw, scenario, kind, number, &mut busy));
    }
    steps
}

/// One fault and, mostly, its end. What is `busy` has had its fault already.
fn fault(
    draw: &mut Draw,
    scenario: &Scenario,
    kind: Kind,
    number: u64,
    busy: &mut BTreeSet<String>,
) -> Vec<Step> {
    let begins = draw.between(0, STEPS_WITHIN);
    let ends = begins + *draw.one(&[50, 500, 2_000, 6_000]);
    let at = |millis, step: Step| Step { at: Some(Time::from_millis(millis)), ..step };
    let mut pair = |steps: fn([String; 2]) -> (Step, Step)| {
        let hosts = two_hosts(draw, scenario);
        if !busy.insert(hosts.concat()) {
            return Vec::new();
        }
        let (first, last) = steps(hosts);
        vec![at(begins, first), at(ends, last)]
    };
    match kind {
        Kind::Hold => pair(|hosts| (Hold(hosts.clone()).into(), Release(hosts).into())),
        Kind::Partition => pair(|hosts| (Partition(hosts.clone()).into(), Heal(hosts).into())),
        Kind::Latency => {
            let between = two_hosts(draw, scenario);
            vec![at(begins, Latency { between, is: draw.millis(1, 400) }.into())]
        }
        Kind::Crash | Kind::Drain => {
            let peers: Vec<&String> = scenario.peers.keys().collect();
            let all: Vec<&str> = scenario.hosts().collect();
            let host = match kind {
                Kind::Drain => draw.one(&peers).to_string(),
                _ if draw.chance(0.8) => draw.one(&peers).to_string(),
                _ => draw.one(&all).to_string(),
            };
            // With files that are garbage a peer does not start again.
            if busy.contains(&files_of(&host)) {
                return Vec::new();
            }
            busy.insert(start_of(&host));
            let first = match kind {
                Kind::Crash => Crash { host: host.clone(), how: crash(draw) }.into(),
                _ if draw.chance(0.8) => Drain(host.clone()).into(),
                _ => Stop(host.clone()).into(),
            };
            vec![at(begins, first), at(ends, Restart(host).into())]
        }
        Kind::Backend => backend(draw, scenario).map_or(Vec::new(), |(first, last)| {
            vec![at(begins, first.into()), at(ends, last.into())]
        }),
        Kind::Dns => {
            let hosts: Vec<&String> =
                scenario.peers.keys().chain(scenario.backends.keys()).collect();
            let name = draw.one(&hosts).to_string();
            let there = Dns { name: name.clone(), host: Some(name.clone()) };
            let gone = Dns { name, host: None };
            vec![at(begins, gone.into()), at(ends, there.into())]
        }
        Kind::Raw => vec![at(begins, raw(draw, scenario, number).into())],
        Kind::Files => files(draw, scenario, busy).map_or(Vec::new(), |(first, last)| {
            let reload = Reload(first.peer.clone());
            vec![
                at(begins, first.into()),
                at(begins, reload.clone().into()),
                at(ends, last.into()),
                at(ends, reload.into()),
            ]
        }),
        Kind::Theft => theft(draw, scenario, number, begins, busy).unwrap_or_default(),
    }
}

fn crash(draw: &mut Draw) -> How {
    *draw.one(&[How::Reset, How::Reset, How::Silent, How::End])
}

fn two_hosts(draw: &mut Draw, scenario: &Scenario) -> [String; 2] {
    // Mostly hosts that have something to say to each other.
    let peers: Vec<&String> = scenario.peers.keys().collect();
    let peer = draw.one(&peers).to_string();
    let spec = &scenario.peers[&peer];
    let mut others: Vec<String> = spec.references().map(|(_, endpoint)| endpoint.host).collect();
    if spec.listen.is_some() {
        others.extend(scenario.clients.iter().cloned());
    }
    others.retain(|other| *other != peer);
    let other = match others.is_empty() {
        true => scenario.clients[0].clone(),
        false => draw.one(&others).clone(),
    };
    [peer, other]
}

/// A change for the worse, and the way back.
fn backend(draw: &mut Draw, scenario: &Scenario) -> Option<(Backend, Backend)> {
    let all: Vec<(&String, &crate::scenario::BackendSpec)> = scenario.backends.iter().collect();
    if all.is_empty() {
        return None;
    }
    let (host, spec) = *draw.one(&all);
    let kinds = match spec.kind {
        // Whoever waits to be greeted cannot tell who answers instead.
        BackendKind::Greeting => &[BackendKind::Refusing, BackendKind::Hanging][..],
        _ => &[BackendKind::Refusing, BackendKind::Hanging, BackendKind::Resetting],
    };
    let kinds = [kinds, &[BackendKind::Mute, spec.kind]].concat();
    let back = Backend {
        host: host.clone(),
        kind: spec.kind,
        delay: spec.delay,
        rate: spec.rate,
        after: spec.after,
    };
    let worse = Backend {
        kind: *draw.one(&kinds),
        delay: draw.chance(0.3).then(|| draw.millis(1, 4_000)),
        rate: draw.chance(0.3).then(|| Size(draw.between(20_000, 50_000))),
        after: Some(Size(draw.between(0, 30_000))),
        ..back.clone()
    };
    Some((worse, back))
}

/// What is busy where a host starts again.
fn start_of(host: &str) -> String {
    format!("start of {host}")
}

/// What is busy where a peer's files are garbage for a time.
fn files_of(host: &str) -> String {
    format!("files of {host}")
}

/// A peer's files turn to garbage, of which it must take no notice, and are good
/// again.
fn files(
    draw: &mut Draw,
    scenario: &Scenario,
    busy: &mut BTreeSet<String>,
) -> Option<(Replace, Replace)> {
    let secure: Vec<(&String, &TlsSpec)> =
        scenario.peers.iter().filter_map(|(host, peer)| Some((host, peer.tls.as_ref()?))).collect();
    if secure.is_empty() {
        return None;
    }
    let (host, tls) = *draw.one(&secure);
    if busy.contains(&start_of(host)) || !busy.insert(files_of(host)) {
        return None;
    }
    let peer = host.clone();
    let garbled = Some(*draw.one(&[File::Certificate, File::Key, File::Ca]));
    let bad = Replace { peer: peer.clone(), garbled, ..Replace::default() };
    let good = Replace { peer, certificate: tls.certificate.clone(), ..Replace::default() };
    Some((bad, good))
}

/// A stranger who knows a proxy id in time: the way to a backend is held, so that
/// the id waits, and before the rightful DATA connection comes another.
fn theft(
    draw: &mut Draw,
    scenario: &Scenario,
    number: u64,
    begins: u64,
    busy: &mut BTreeSet<String>,
) -> Option<Vec<Step>> {
    let sites: Vec<(&String, &PeerSpec)> =
        scenario.peers.iter().filter(|(_, peer)| !peer.connect.is_empty()).collect();
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
    let to = draw.one(&peer.connect).clone();
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

/// A stranger on the listening address.
fn raw(draw: &mut Draw, scenario: &Scenario, number: u64) -> Raw {
    let listens: Vec<&String> =
        scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some()).map(|(h, _)| h).collect();
    let host = draw.one(&listens).to_string();
    let texts = [
        "DATA:00000000000000000000000000000000\n",
        "DATA:{forward:last}\n",
        "DATA:{forward:1}\nand some payload",
        "DATA:short\n",
        "DATA:",
        "HELLO:2:stranger\n",
        "HELLO:1:stranger\nREGISTER:_bad\n",
        "HELLO:1:stranger\nFORWARD:00000000000000000000000000000000:a:1.2.3.4:5\n",
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
