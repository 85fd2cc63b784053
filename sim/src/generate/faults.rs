//! What is done to a mesh.

use std::collections::BTreeSet;

use super::draw::{Draw, STEPS_WITHIN};
use super::strangers::{raw, theft};
use crate::scenario::steps::{
    Backend, Configure, Crash, Dns, Drain, Freeze, Heal, Hold, How, Latency, Lose, Partition,
    Release, Reload, Replace, Restart, Stop, Thaw,
};
use crate::scenario::{BackendKind, BackendSpec, File, Scenario, Size, Step, Time, TlsSpec};

/// The kinds of faults that a run may have, each drawn or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Hold,
    Partition,
    Lose,
    Crash,
    Backend,
    Latency,
    Dns,
    Drain,
    Raw,
    Theft,
    Files,
    Configure,
    Freeze,
}

const KINDS: [Kind; 13] = [
    Kind::Hold,
    Kind::Partition,
    Kind::Lose,
    Kind::Crash,
    Kind::Backend,
    Kind::Latency,
    Kind::Dns,
    Kind::Drain,
    Kind::Raw,
    Kind::Theft,
    Kind::Files,
    Kind::Configure,
    Kind::Freeze,
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
        // Either of the two may be the one that is not heard.
        Kind::Lose if begins.is_multiple_of(2) => {
            pair(|hosts| (Lose(hosts.clone()).into(), Heal(hosts).into()))
        }
        Kind::Lose => pair(|[a, b]| (Lose([b.clone(), a.clone()]).into(), Heal([a, b]).into())),
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
        Kind::Freeze => {
            let peers: Vec<&String> = scenario.peers.keys().collect();
            let host = draw.one(&peers).to_string();
            if !busy.insert(format!("process of {host}")) {
                return Vec::new();
            }
            vec![at(begins, Freeze(host.clone()).into()), at(ends, Thaw(host).into())]
        }
        Kind::Backend => backend(draw, scenario).map_or(Vec::new(), |(first, last)| {
            vec![at(begins, first.into()), at(ends, last.into())]
        }),
        Kind::Dns => {
            let hosts: Vec<&String> =
                scenario.peers.keys().chain(scenario.backends.keys()).collect();
            let name = draw.one(&hosts).to_string();
            let there = Dns { name: name.clone(), host: Some(name.clone()), ..Dns::default() };
            let gone = Dns { name, ..Dns::default() };
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
        Kind::Configure => configure(draw, scenario, busy).map_or(Vec::new(), |(first, last)| {
            vec![at(begins, first.into()), at(ends, last.into())]
        }),
        Kind::Theft => theft(draw, scenario, number, begins, busy).unwrap_or_default(),
    }
}

/// A peer no longer serves one of its names, and serves it again.
fn configure(
    draw: &mut Draw,
    scenario: &Scenario,
    busy: &mut BTreeSet<String>,
) -> Option<(Configure, Configure)> {
    let serving = scenario.peers.iter().filter(|(_, peer)| !peer.services.is_empty());
    let serving: Vec<_> = serving.collect();
    if serving.is_empty() {
        return None;
    }
    let (host, spec) = *draw.one(&serving);
    if !busy.insert(format!("configuration of {host}")) {
        return None;
    }
    let (services, offers) = (spec.services.clone(), spec.offers.clone());
    let all = Configure { peer: host.clone(), services, offers };
    let names: Vec<&String> = spec.services.keys().collect();
    let dropped = draw.one(&names).to_string();
    let mut fewer = all.clone();
    fewer.services.remove(&dropped);
    fewer.offers.remove(&dropped);
    Some((fewer, all))
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
    // A name is none, but leads to some that listen.
    if others.iter().any(|other| !scenario.hosts().any(|host| host == other)) {
        let listening = scenario.peers.iter().filter(|(_, peer)| peer.listen.is_some());
        others.extend(listening.map(|(host, _)| host.clone()));
    }
    others.retain(|other| *other != peer && scenario.hosts().any(|host| host == other));
    let other = match others.is_empty() {
        true => scenario.clients[0].clone(),
        false => draw.one(&others).clone(),
    };
    [peer, other]
}

/// A change for the worse, and the way back.
fn backend(draw: &mut Draw, scenario: &Scenario) -> Option<(Backend, Backend)> {
    let all: Vec<(&String, &BackendSpec)> = scenario.backends.iter().collect();
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
