//! A small reference model of the mesh: which names a listening peer must have
//! up, which it must not, and when it is allowed not to know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ops_proxy::config::Upstream;
use ops_proxy::limits::{BACKOFF_CAP, CONNECT_TIMEOUT, PATH_PEERS};
use ops_proxy::names::{Name, NamePattern};
use ops_proxy::observe::metrics::Snapshot;

use super::health::{Wellness, falls_within, health_of, wellness};
use super::trust::lets_in;
use crate::mesh::Mesh;
use crate::scenario::steps::Raw;

/// Beyond the deadlines themselves: ticks, latency, one more round of each.
const SLACK: Duration = Duration::from_secs(2);

/// One registration that the configuration asks for: a name, from a connecting
/// peer, through one upstream, at a listening peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    listening: String,
    name: String,
    /// `None` for a name that the listening peer serves itself.
    connecting: Option<Connecting>,
    /// The host of a listening peer that is asked for it, and the name by which that is
    /// dialled.
    asked: Option<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Connecting {
    peer: String,
    /// The name by which it dials the listening peer.
    dials: String,
    /// What it passes on, where it does not serve the name itself.
    behind: Option<Box<Wanted>>,
}

impl Wanted {
    /// How many links it depends on.
    fn hops(&self) -> u32 {
        let behind = |one: &Connecting| one.behind.as_ref().map_or(0, |one| one.hops());
        let asked = u32::from(self.asked.is_some());
        self.connecting.as_ref().map_or(asked, |one| 1 + behind(one))
    }

    /// The peer whose service it is.
    fn served_by(&self) -> &str {
        let Some(one) = &self.connecting else { return &self.listening };
        one.behind.as_ref().map_or(&one.peer, |behind| behind.served_by())
    }

    /// Whether a request for it passes this host.
    fn passes(&self, host: &str) -> bool {
        let behind = |one: &Connecting| {
            one.peer == host || one.behind.as_ref().is_some_and(|one| one.passes(host))
        };
        self.listening == host || self.connecting.as_ref().is_some_and(behind)
    }
}

/// What the model has seen of the mesh, tick by tick.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Since when a registration could be had without hindrance.
    possible: BTreeMap<Wanted, Duration>,
    /// Since when it could not.
    impossible: BTreeMap<Wanted, Duration>,
    /// Those that could be had once. Where only certificates have come to be in
    /// the way, an old link may stand on: they are asked for at its beginning.
    once: BTreeSet<Wanted>,
    /// Since when nothing but its backend's checks keeps it away.
    ill: BTreeMap<Wanted, Duration>,
    /// Those whose link was troubled: the listening peer may hold on to an old one.
    troubled: BTreeSet<Wanted>,
}

/// Whether a registration can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chance {
    Good,
    /// Certificates or tokens are in the way, and nothing else.
    Distrusted,
    /// Its backend fails its checks, and nothing else is in the way.
    Ill,
    /// Its checks may go either way.
    Unclear,
    None,
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
        let wanted = wanted(mesh);
        for one in &wanted {
            let chance = chance(mesh, one);
            if chance == Chance::Ill {
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
                    if !self.once.contains(one) {
                        self.once.insert(one.clone());
                    }
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
        self.possible.retain(|one, _| wanted.contains(one));
        self.impossible.retain(|one, _| wanted.contains(one));
        self.ill.retain(|one, _| wanted.contains(one));
    }

    /// Compares what a listening peer says with what must be so.
    ///
    /// # Errors
    /// The first name that is not as it must be.
    pub(super) fn check(&self, mesh: &Mesh, host: &str, snapshot: &Snapshot) -> Result<(), String> {
        for name in names_at(mesh, host) {
            let row = snapshot.names.iter().find(|row| row.name == name);
            let up = row.is_some_and(|row| !row.providers.is_empty());
            match self.truth(mesh, host, &name) {
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
        let scenario = mesh.scenario();
        let timeout = scenario.peers[host].timing().peer_timeout;
        // What was broken before may only be noticed now.
        let settled = timeout + scenario.network.notices_cut_after.0 + SLACK;
        for old in before.names.iter().filter(|row| !row.providers.is_empty()) {
            let up = now.names.iter().any(|row| row.name == old.name && !row.providers.is_empty());
            let untroubled = |(one, since): (&Wanted, &Duration)| {
                one.listening == host && one.name == old.name && mesh.now() > *since + settled
            };
            if !up && self.possible.iter().any(untroubled) {
                return Err(format!("client_up of {} at {host} fell for no reason", old.name));
            }
        }
        Ok(())
    }

    /// Whether `name` must be up at the listening peer on `host` now.
    fn truth(&self, mesh: &Mesh, host: &str, name: &str) -> Truth {
        if mesh.is_leaving(host) || has_strangers(mesh) {
            return Truth::Open;
        }
        let now = mesh.now();
        let here = |one: &&Wanted| one.listening == host && one.name == name;
        let for_long = |since: &Duration, bound: Duration| now.saturating_sub(*since) > bound;
        let comes_back = BACKOFF_CAP + CONNECT_TIMEOUT + SLACK;
        let is_up = |one: &Wanted, since: &Duration| {
            let is_checked = health_of(mesh, one.served_by(), &one.name).is_some();
            let waits = one.hops().max(u32::from(is_checked));
            for_long(since, SLACK.max(comes_back * waits))
        };
        let mut possible = self.possible.iter().filter(|(one, _)| here(one));
        if possible.clone().any(|(one, since)| is_up(one, since)) {
            return Truth::Up;
        }
        let timeout = mesh.scenario().peers[host].timing().peer_timeout + SLACK;
        let most = self.impossible.keys().filter(here).map(Wanted::hops).max();
        // What is lost at one peer is withdrawn at the next.
        let timeout = timeout * most.unwrap_or(1).max(1);
        let mut impossible = self.impossible.iter().filter(|(one, _)| here(one));
        let is_gone = |one: &Wanted| {
            let Some(since) = self.ill.get(one) else { return self.impossible.contains_key(one) };
            let health = health_of(mesh, one.served_by(), &one.name);
            let old_link = if self.troubled.contains(one) { timeout } else { SLACK };
            health.is_some_and(|health| for_long(since, falls_within(&health) + old_link))
        };
        let unclear = |one: &Wanted| here(&one) && !is_gone(one);
        if possible.next().is_none()
            && !self.once.iter().any(unclear)
            && impossible.all(|(_, s)| for_long(s, timeout))
        {
            return Truth::Down;
        }
        Truth::Open
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

/// The names that a listening peer shall serve.
fn names_at(mesh: &Mesh, host: &str) -> BTreeSet<String> {
    wanted(mesh).into_iter().filter(|one| one.listening == host).map(|one| one.name).collect()
}

/// The names that nothing keeps from being up at a listening peer, but for those that it asks
/// for: whether it may is for others to say.
pub fn names_to_come(mesh: &Mesh, host: &str) -> BTreeSet<String> {
    let here = wanted(mesh).into_iter().filter(|one| one.listening == host);
    here.filter(|one| one.asked.is_none() && chance(mesh, one) == Chance::Good)
        .map(|one| one.name)
        .collect()
}

/// Every registration that the configurations ask for, by what names mean now.
fn wanted(mesh: &Mesh) -> BTreeSet<Wanted> {
    let mut all = BTreeSet::new();
    for (host, peer) in &mesh.scenario().peers {
        let names = || peer.services.keys().cloned();
        if peer.listen.is_some() {
            let local =
                |name| Wanted { listening: host.clone(), name, connecting: None, asked: None };
            all.extend(names().map(local));
        }
        for upstream in &peer.connect {
            let Ok(Upstream { endpoint, .. }) = upstream.parse() else { continue };
            for listening in mesh.hosts_of(&endpoint.host) {
                let listens = mesh.scenario().peers.get(&listening);
                if listens.is_none_or(|peer| peer.listen != Some(endpoint.port)) {
                    continue;
                }
                all.extend(peer.reach.iter().map(|name| Wanted {
                    listening: host.clone(),
                    name: name.clone(),
                    connecting: None,
                    asked: Some((listening.clone(), endpoint.host.clone())),
                }));
                all.extend(names().map(|name| Wanted {
                    listening: listening.clone(),
                    name,
                    asked: None,
                    connecting: Some(Connecting {
                        peer: host.clone(),
                        dials: endpoint.host.clone(),
                        behind: None,
                    }),
                }));
            }
        }
    }
    let mut last: Vec<Wanted> =
        all.iter().filter(|one| one.connecting.is_some()).cloned().collect();
    for _ in 1..PATH_PEERS {
        last = last.iter().flat_map(|one| passed_on(mesh, one)).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What a peer that has a registration asks for at its own upstreams.
fn passed_on(mesh: &Mesh, one: &Wanted) -> Vec<Wanted> {
    let host = &one.listening;
    let peer = &mesh.scenario().peers[host];
    let Ok(name) = one.name.parse::<Name>() else { return Vec::new() };
    let patterns = peer.transit.iter().filter_map(|text| text.parse::<NamePattern>().ok());
    let is_meant = patterns.into_iter().any(|pattern| pattern.covers(&name));
    if !is_meant || peer.services.contains_key(&one.name) {
        return Vec::new();
    }
    let upstreams = peer.connect.iter().filter_map(|text| text.parse::<Upstream>().ok());
    upstreams
        .flat_map(|Upstream { endpoint, .. }| {
            let hosts = mesh.hosts_of(&endpoint.host).into_iter();
            hosts.map(move |listening| (listening, endpoint.clone()))
        })
        .filter(|(listening, endpoint)| {
            let peer = mesh.scenario().peers.get(listening);
            peer.is_some_and(|peer| peer.listen == Some(endpoint.port)) && !one.passes(listening)
        })
        .map(|(listening, endpoint)| Wanted {
            listening,
            asked: None,
            name: one.name.clone(),
            connecting: Some(Connecting {
                peer: host.clone(),
                dials: endpoint.host,
                behind: Some(Box::new(one.clone())),
            }),
        })
        .collect()
}

fn chance(mesh: &Mesh, one: &Wanted) -> Chance {
    match (link_chance(mesh, one), wellness(mesh, one.served_by(), &one.name)) {
        (Chance::Good, Wellness::Ill) => Chance::Ill,
        (Chance::Good, Wellness::Unclear) => Chance::Unclear,
        (chance, _) => chance,
    }
}

fn link_chance(mesh: &Mesh, one: &Wanted) -> Chance {
    let runs = |host: &str| mesh.is_running(host) && !mesh.is_leaving(host);
    if let Some((hub, dials)) = &one.asked {
        let own = &one.listening;
        return match mesh.is_running(own) && runs(hub) && mesh.is_open(own, hub) {
            true if lets_in(mesh, own, hub, dials) => Chance::Good,
            true => Chance::Distrusted,
            false => Chance::None,
        };
    }
    let Some(Connecting { peer, dials, behind }) = &one.connecting else {
        return if mesh.is_running(&one.listening) { Chance::Good } else { Chance::None };
    };
    if !runs(peer) || !mesh.is_running(&one.listening) || !mesh.is_open(peer, &one.listening) {
        return Chance::None;
    }
    match (lets_in(mesh, peer, &one.listening, dials), behind) {
        (true, Some(behind)) => chance(mesh, behind),
        (true, None) => Chance::Good,
        (false, _) => Chance::Distrusted,
    }
}
