//! A small reference model of the mesh: which names a listening peer must have
//! up, which it must not, and when it is allowed not to know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ops_proxy::limits::{
    ADDRESS_GRACE, ANSWER_KEPT, BACKOFF_CAP, CONNECT_TIMEOUT, LOOK_INTERVAL, REPLACED_CAP,
};
use ops_proxy::observe::metrics::Snapshot;

use super::chance::Chance;
use super::health::{falls_within, health_of};
use super::pace::answers_within;
use super::relied::{Relied, is_asked};
use super::standing::standing;
use super::wanted::{Asked, Wanted, wanted};
use crate::client::Outcome;
use crate::mesh::Mesh;
use crate::scenario::steps::{Raw, Via};
use crate::scenario::{PeerSpec, Step, serves_for};

/// Beyond the deadlines themselves: ticks, latency, one more round of each.
const SLACK: Duration = Duration::from_secs(2);

/// What a host resolves to is known within this time: the next look, which may be told
/// what was found a little earlier, and the lookup itself.
const LOOKED_UP: Duration =
    LOOK_INTERVAL.saturating_add(ANSWER_KEPT).saturating_add(CONNECT_TIMEOUT);

/// A link that can be had is there within this time: the longest wait for the next dial,
/// and the dial.
const COMES_BACK: Duration = BACKOFF_CAP.saturating_add(CONNECT_TIMEOUT);

/// A link to an address that its host no longer has is given up within this time: the look
/// that misses it, the grace, and the look that finds it over.
const GIVEN_UP: Duration = LOOKED_UP.saturating_add(ADDRESS_GRACE).saturating_add(LOOKED_UP);

/// A way that takes no longer than this is slow for nobody: it is taken twelve times within the
/// shortest deadline that is long enough.
const STILL_NEAR: Duration = Duration::from_millis(100);

/// Since when something is so.
type Since = BTreeMap<Wanted, Duration>;

/// What the model has seen of the mesh, tick by tick.
#[derive(Debug, Default)]
pub(super) struct Model {
    asked: Asked,
    /// How each stood a moment ago.
    chances: BTreeMap<Wanted, Chance>,
    /// Since when a registration could be had without hindrance.
    possible: Since,
    /// Since when it is the one that stands, once all news have arrived: of several paths
    /// of a name, each peer passes on one.
    standing: Since,
    /// Since when it could not be had.
    impossible: Since,
    /// Those that could be had once. Where only certificates have come to be in
    /// the way, an old link may stand on: they are asked for at its beginning.
    once: BTreeSet<Wanted>,
    /// Since when nothing but its backend's checks keeps it away.
    ill: Since,
    /// Since when DNS says that its listening peer is not where it was, or the peer that served
    /// it is configured not to.
    gone: Since,
    /// When a process with the same peer id last had the same: who lost its link to it
    /// waits for longer than others.
    contested: Since,
    /// Those whose link was troubled: the listening peer may hold on to an old one.
    troubled: BTreeSet<Wanted>,
    /// What requests could rely on.
    relied: Relied,
}

/// What a name must be at a listening peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    /// A provider has been there for long enough.
    Up,
    /// There has been no provider for long enough.
    Down,
    /// News may still be on their way.
    Open,
}

impl Model {
    /// Takes in the mesh as it is now.
    pub(super) fn observe(&mut self, mesh: &Mesh) {
        let now = mesh.now();
        let looked = self.asked.look(mesh);
        if looked {
            let all = self.asked.all();
            for map in [&mut self.possible, &mut self.standing, &mut self.impossible, &mut self.ill]
            {
                map.retain(|one, _| all.contains(one));
            }
            let gone = self
                .once
                .iter()
                .filter(|one| !all.contains(one) && (is_moved(mesh, one) || is_dropped(mesh, one)));
            let gone: Since = gone.map(|one| (one.clone(), now)).collect();
            let before = std::mem::replace(&mut self.gone, gone);
            for (one, since) in before {
                self.gone.entry(one).and_modify(|later| *later = since);
            }
        }
        let chances: Vec<Chance> =
            self.asked.all().iter().map(|one| Chance::of(mesh, one)).collect();
        if !looked && chances.iter().eq(self.chances.values()) {
            return self.relied.observe(mesh, &self.chances);
        }
        self.contest(mesh);
        self.chances = self.asked.all().iter().cloned().zip(chances).collect();
        self.relied.observe(mesh, &self.chances);
        let stands = standing(mesh, &self.chances);
        self.standing.retain(|one, _| stands.contains(one));
        for one in stands {
            self.standing.entry(one).or_insert(now);
        }
        self.take_in(now);
    }

    /// Takes note of those that two processes with one peer id had until now.
    fn contest(&mut self, mesh: &Mesh) {
        let good = || self.chances.iter().filter(|(_, now)| **now == Chance::Good);
        let is_rival = |one: &Wanted, other: &Wanted| {
            one.listening == other.listening
                && one.name == other.name
                && one.served_by() != other.served_by()
                && one.path(mesh) == other.path(mesh)
        };
        let ids = mesh.scenario().peers.values().filter_map(|peer| peer.id.as_ref());
        if ids.clone().count() > ids.collect::<BTreeSet<_>>().len() {
            let contested = good().filter(|(one, _)| good().any(|(other, _)| is_rival(one, other)));
            let contested: Vec<Wanted> = contested.map(|(one, _)| one.clone()).collect();
            self.contested.extend(contested.into_iter().map(|one| (one, mesh.now())));
        }
    }

    /// Takes in what has become of each registration.
    fn take_in(&mut self, now: Duration) {
        for (one, chance) in &self.chances {
            if *chance == Chance::Ill {
                self.ill.entry(one.clone()).or_insert(now);
            } else {
                self.ill.remove(one);
            }
            match chance {
                Chance::Ill | Chance::Unclear => {
                    self.once.insert(one.clone());
                    self.possible.remove(one);
                    self.impossible.remove(one);
                }
                Chance::Good => {
                    self.possible.entry(one.clone()).or_insert(now);
                    self.impossible.remove(one);
                    self.once.insert(one.clone());
                }
                Chance::Distrusted if self.once.contains(one) => {
                    self.possible.remove(one);
                    self.impossible.remove(one);
                }
                Chance::Distrusted | Chance::None => {
                    self.troubled.insert(one.clone());
                    self.impossible.entry(one.clone()).or_insert(now);
                    self.possible.remove(one);
                }
            }
        }
    }

    /// Compares what a listening peer says with what must be so.
    ///
    /// # Errors
    /// The first name that is not as it must be.
    pub(super) fn check(&self, mesh: &Mesh, host: &str, snapshot: &Snapshot) -> Result<(), String> {
        // Where DNS does not answer, what was there before stands on.
        let known = self.asked.all().iter().chain(&self.once);
        let known = known.filter(|one| one.listening == host).map(|one| one.name.as_str());
        let known: BTreeSet<&str> = known.collect();
        let mut up = snapshot.names.iter().filter(|row| !row.providers.is_empty());
        if let Some(row) = up.find(|row| !known.contains(row.name.as_str()))
            && mesh.scenario().peers[host].listen.is_some()
            && !has_strangers(mesh)
        {
            return Err(format!("client_up of {} at {host} is 1, and nobody has it", row.name));
        }
        for name in known {
            let row = snapshot.names.iter().find(|row| row.name == name);
            let up = row.is_some_and(|row| !row.providers.is_empty());
            match self.truth(mesh, host, name) {
                Truth::Up if !up => {
                    return Err(format!("client_up of {name} at {host} is 0, and must be 1"));
                }
                Truth::Down if up => {
                    return Err(format!("client_up of {name} at {host} is 1, and must be 0"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Compares what a listening peer says with what it said a tick ago: a name
    /// does not go down while a provider is there that nothing has troubled.
    ///
    /// # Errors
    /// The first name that did.
    pub(super) fn check_change(
        &self,
        mesh: &Mesh,
        host: &str,
        before: &Snapshot,
        now: &Snapshot,
    ) -> Result<(), String> {
        if has_strangers(mesh) || mesh.is_leaving(host) {
            return Ok(());
        }
        for old in before.names.iter().filter(|row| !row.providers.is_empty()) {
            let up = now.names.iter().any(|row| row.name == old.name && !row.providers.is_empty());
            let is_up = |one: &Wanted| {
                one.listening == host && one.name == old.name && self.stands_firm(mesh, one)
            };
            if !up && self.possible.keys().any(is_up) {
                return Err(format!("client_up of {} at {host} fell for no reason", old.name));
            }
        }
        Ok(())
    }

    /// Those of the names of a request that are served, where nothing that it depends on was broken
    /// while it ran, and nothing else in the run may have broken it.
    ///
    /// # Errors
    /// What may have.
    pub(super) fn could_rely(
        &self,
        mesh: &Mesh,
        outcome: &Outcome,
        hub: &str,
        names: &[String],
    ) -> Result<BTreeSet<String>, &'static str> {
        let scenario = mesh.scenario();
        let steps = || scenario.steps();
        let asked = |one: &&Wanted| is_asked(one, hub, names);
        let mut concerned: BTreeSet<&str> = BTreeSet::from([hub, &outcome.client]);
        let mut hubs: BTreeSet<&str> = BTreeSet::from([hub]);
        let mut hops = 1;
        for one in self.relied.names().filter(asked) {
            hops = hops.max(one.hops());
            hubs.extend(one.all_hops().map(|hop| hop.listening.as_str()));
            concerned.insert(one.served_by());
            concerned.extend(scenario.backends.keys().map(String::as_str));
        }
        concerned.extend(&hubs);
        let slows = |step: &Step| {
            let slow = step.latency.as_ref().filter(|latency| latency.is.0 > STILL_NEAR);
            let between = slow.map(|latency| &latency.between);
            between.is_some_and(|hosts| hosts.iter().all(|host| concerned.contains(host.as_str())))
        };
        let mut peers = scenario.peers.iter().filter(|(host, _)| concerned.contains(host.as_str()));
        let answers = hops * answers_within(scenario);
        let is_hasty = |peer: &PeerSpec| peer.timing().data_timeout < answers;
        let meddles = |raw: &Raw| hubs.iter().any(|hub| meddles(mesh, raw, hub, names));
        match () {
            () if self.contested.keys().any(|one| asked(&one)) => Err("instances"),
            () if steps().filter_map(|step| step.raw.as_ref()).any(meddles) => Err("strangers"),
            // What registrations ask for is names, not the ways of each.
            () if steps().any(|step| step.configure.is_some())
                && matches!(outcome.request.via, Via::Connect | Via::Tcp | Via::Udp) =>
            {
                Err("ways that change")
            }
            () if steps().any(slows) => Err("slow ways"),
            () if peers.any(|(_, peer)| is_hasty(peer)) => Err("short deadlines"),
            () => self.relied.held(outcome, hub, names),
        }
    }

    /// Takes in what the listening peer on this host says of its names.
    pub(super) fn saw(&mut self, mesh: &Mesh, host: &str, numbers: &Snapshot) {
        self.relied.saw(host, numbers, mesh.now());
    }

    /// Whether nobody with the same peer id has had it lately.
    fn is_undisputed(&self, mesh: &Mesh, one: &Wanted) -> bool {
        let comes_back = REPLACED_CAP + CONNECT_TIMEOUT + SLACK;
        let disputed = one.all_hops().filter_map(|hop| self.contested.get(hop)).max();
        disputed.is_none_or(|at| mesh.now() > *at + comes_back)
    }

    /// Whether a registration has stood for so long that everybody knows, and nothing that
    /// was broken before is only noticed now.
    fn stands_firm(&self, mesh: &Mesh, one: &Wanted) -> bool {
        let for_long = |since: Option<&Duration>, bound| {
            since.is_some_and(|since| mesh.now() > *since + bound)
        };
        let noticed = noticed(mesh, one);
        let there = if self.troubled.contains(one) { comes_back(mesh, one) } else { noticed };
        for_long(self.possible.get(one), there.max(noticed))
            && self.is_undisputed(mesh, one)
            && for_long(self.standing.get(one), noticed)
    }

    /// Whether `name` must be up at the listening peer on `host` now.
    fn truth(&self, mesh: &Mesh, host: &str, name: &str) -> Truth {
        if mesh.is_leaving(host) || has_strangers(mesh) || is_behind(mesh, host) {
            return Truth::Open;
        }
        let now = mesh.now();
        let here = |one: &&Wanted| one.listening == host && one.name == name;
        let for_long = |since: &Duration, bound: Duration| now.saturating_sub(*since) > bound;
        let is_up = |one: &Wanted, since: &Duration| {
            let is_checked = health_of(mesh, one.served_by(), &one.name).is_some();
            let there = match one.hops() > 0 || is_checked {
                true => comes_back(mesh, one),
                false => Duration::ZERO,
            };
            // Where there is but one path, it stands from the beginning.
            let told = |since: &Duration| one.hops() < 2 || for_long(since, noticed(mesh, one));
            for_long(since, there + SLACK * one.hops().max(1))
                && self.is_undisputed(mesh, one)
                && self.standing.get(one).is_some_and(told)
        };
        let mut possible = self.possible.iter().filter(|(one, _)| here(one));
        if possible.clone().any(|(one, since)| is_up(one, since)) {
            return Truth::Up;
        }
        let mut impossible = self.impossible.iter().filter(|(one, _)| here(one));
        let is_gone = |one: &Wanted| {
            if let Some(since) = self.gone.get(one) {
                return for_long(since, GIVEN_UP + SLACK * one.hops());
            }
            let Some(since) = self.ill.get(one) else { return self.impossible.contains_key(one) };
            let health = health_of(mesh, one.served_by(), &one.name);
            let old_link = match self.troubled.contains(one) {
                true => withdrawn(mesh, one),
                false => SLACK * one.hops().max(1),
            };
            health.is_some_and(|health| for_long(since, falls_within(&health) + old_link))
        };
        let unclear = |one: &Wanted| here(&one) && !is_gone(one);
        if possible.next().is_none()
            && !self.once.iter().any(unclear)
            && impossible.all(|(one, since)| for_long(since, withdrawn(mesh, one)))
        {
            return Truth::Down;
        }
        Truth::Open
    }
}

/// Whether the listening peer of some hop is elsewhere now, as DNS says: where DNS does not
/// answer, nothing changes.
fn is_moved(mesh: &Mesh, one: &Wanted) -> bool {
    let links = one.all_hops().filter_map(|hop| Some((hop, hop.connecting.as_ref()?)));
    links.into_iter().any(|(hop, connecting)| {
        let hosts = mesh.hosts_of(&connecting.dials);
        !hosts.is_empty() && !hosts.contains(&hop.listening)
    })
}

/// Whether the process on this host stands still, or did a moment ago: it does not know yet what
/// has happened meanwhile.
fn is_behind(mesh: &Mesh, host: &str) -> bool {
    let timeout = mesh.scenario().peers[host].timing().peer_timeout;
    mesh.is_frozen(host) || mesh.thawed(host).is_some_and(|at| mesh.now() <= at + timeout + SLACK)
}

/// Whether the peer that served it is configured not to.
fn is_dropped(mesh: &Mesh, one: &Wanted) -> bool {
    let peer = mesh.scenario().peers.get(one.served_by());
    peer.is_some_and(|peer| !peer.services.contains_key(&one.name))
}

/// When the links of this path are there, if they can be had. Where DNS has moved, they wait
/// for the next look at it.
fn comes_back(mesh: &Mesh, one: &Wanted) -> Duration {
    let moves = |name: &str| {
        let mut steps = mesh.scenario().steps().filter_map(|step| step.dns.as_ref());
        steps.any(|dns| dns.name == name)
    };
    let mut dialled = one.all_hops().filter_map(|hop| hop.connecting.as_ref());
    match dialled.any(|connecting| moves(&connecting.dials)) {
        true => COMES_BACK.max(LOOKED_UP + CONNECT_TIMEOUT),
        false => COMES_BACK,
    }
}

/// How long it takes until what is lost on this path is withdrawn from hop to hop.
fn withdrawn(mesh: &Mesh, one: &Wanted) -> Duration {
    let timeout = |hop: &Wanted| mesh.scenario().peers[&hop.listening].timing().peer_timeout;
    one.all_hops().map(|hop| timeout(hop) + SLACK).sum()
}

/// How long it takes until what was lost elsewhere is known everywhere, so that this path
/// is the one that is taken.
fn noticed(mesh: &Mesh, one: &Wanted) -> Duration {
    let peers = || mesh.scenario().peers.iter();
    let timeout = peers().map(|(_, peer)| peer.timing().peer_timeout).max().unwrap_or_default();
    let checks = peers().filter_map(|(host, _)| health_of(mesh, host, &one.name));
    let falls = checks.map(|health| falls_within(&health)).max().unwrap_or_default();
    let elsewhere = if one.hops() > 1 { falls } else { Duration::ZERO };
    timeout + mesh.scenario().network.notices_cut_after.0 + elsewhere + SLACK * one.hops().max(1)
}

/// Whether a raw connection may serve one of these names at a listening peer, take a request from
/// others, or take the place of a peer.
fn meddles(mesh: &Mesh, raw: &Raw, hub: &str, names: &[String]) -> bool {
    let mut raws = mesh.scenario().steps().filter_map(|step| step.raw.as_ref());
    let is_there = |one: &Raw| {
        let to = one.to.as_deref().and_then(|to| to.split(':').next());
        one.conn == raw.conn && to == Some(hub)
    };
    raws.any(is_there) && raw.send.lines().any(|line| may_be_heeded(mesh, line, names))
}

fn may_be_heeded(mesh: &Mesh, line: &str, names: &[String]) -> bool {
    let (verb, rest) = line.split_once(':').unwrap_or((line, ""));
    match verb {
        // Whoever claims to be a peer may replace it.
        "HELLO" => {
            let id = rest.split([':', '/']).nth(1).unwrap_or_default();
            mesh.scenario().peers.iter().any(|(host, peer)| {
                let known = peer.id.as_deref().unwrap_or(host);
                known.split('/').next() == Some(id)
            })
        }
        "REGISTER" => rest.split(',').any(|offer| {
            let known = offer.split(['@', ';']).next().unwrap_or_default();
            names.iter().any(|name| serves_for(known, name))
        }),
        // An id that is pending, or that may be.
        "DATA" => rest.starts_with("{forward") || rest.starts_with("idle"),
        _ => false,
    }
}

/// Whether raw connections may have registered anything, under any peer id: those
/// that can prove who they are, where that is asked.
fn has_strangers(mesh: &Mesh) -> bool {
    let scenario = mesh.scenario();
    // What is written later on says nothing of where it goes.
    let asks = |raw: &Raw| {
        let host = raw.to.as_deref().and_then(|to| to.split(':').next());
        host.and_then(|host| scenario.peers.get(host)).is_some_and(|peer| peer.tls.is_some())
    };
    let proves = scenario.steps().filter_map(|step| step.raw.as_ref());
    let proves: Vec<&str> = proves
        .filter(|raw| raw.to.is_some() && (raw.certificate.is_some() || !asks(raw)))
        .map(|raw| raw.conn.as_str())
        .collect();
    let mut raws = scenario.steps().filter_map(|step| step.raw.as_ref());
    raws.any(|raw| raw.send.contains("HELLO") && proves.contains(&raw.conn.as_str()))
}

/// The names that nothing keeps from being up at a listening peer.
pub fn names_to_come(mesh: &Mesh, host: &str) -> BTreeSet<String> {
    let here = wanted(mesh).into_iter().filter(|one| one.listening == host);
    here.filter(|one| one.asks.is_none() && Chance::of(mesh, one) == Chance::Good)
        .map(|one| one.name)
        .collect()
}
