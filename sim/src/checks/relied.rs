//! What a request could rely on while it ran: a fault excuses the requests that depend on what
//! it has broken, at that time, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ops_proxy::config::Endpoint;
use ops_proxy::observe::metrics::Snapshot;

use super::chance::Chance;
use super::wanted::Wanted;
use crate::client::Outcome;
use crate::mesh::Mesh;
use crate::scenario::{Scenario, serves_for};

/// What was so at the first look was so from the beginning.
const BEGINNING: Duration = Duration::from_millis(100);

/// What is broken is known no later than this.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// What has been whole for so long was not only begun anew: all that was held has arrived, and who
/// is up is so through what is whole.
const WHOLE_FOR: Duration = Duration::from_secs(3);

/// Less than a head may take.
const BRIEFLY: Duration = Duration::from_secs(7);

/// When something was as it should be: from, and until if that is over.
#[derive(Debug, Default)]
struct Spells(Vec<(Duration, Option<Duration>)>);

impl Spells {
    /// It is so now, or is not.
    fn note(&mut self, is_so: bool, now: Duration) {
        match (is_so, self.0.last_mut()) {
            (true, Some((_, None))) | (false, None | Some((_, Some(_)))) => {}
            (true, _) => self.0.push((now, None)),
            (false, Some((_, until))) => *until = Some(now),
        }
    }

    /// Whether it was so for all of that time.
    fn cover(&self, from: Duration, until: Duration) -> bool {
        self.0.iter().any(|(began, ended)| *began <= from && ended.is_none_or(|at| until < at))
    }

    /// The same, and had been for `settled` before, unless it was so from the beginning.
    fn settle(&self, settled: Duration, from: Duration, until: Duration) -> bool {
        self.cover(BEGINNING, until) || self.cover(from.saturating_sub(settled), until)
    }
}

/// All that requests may rely on.
#[derive(Debug, Default)]
pub(super) struct Relied {
    /// Registrations.
    names: BTreeMap<Wanted, Spells>,
    /// The backends of a host's service.
    backends: BTreeMap<(String, String), Spells>,
    /// Names that a listening peer says are up.
    ups: BTreeMap<(String, String), Spells>,
    /// Listening peers that take requests.
    hubs: BTreeMap<String, Spells>,
    /// How often each peer had been started.
    starts: BTreeMap<String, u64>,
    /// From a client to a listening peer.
    ways: BTreeMap<(String, String), Spells>,
}

impl Relied {
    /// Takes in how everything is now.
    pub(super) fn observe(&mut self, mesh: &Mesh, chances: &BTreeMap<Wanted, Chance>) {
        let now = mesh.now();
        let restarted = self.restarted(mesh);
        for (one, spells) in &mut self.names {
            if !chances.contains_key(one) {
                spells.note(false, now);
            }
        }
        for (one, chance) in chances {
            let spells = self.names.entry(one.clone()).or_default();
            let hosts: Vec<IpAddr> = one.hosts().map(|host| mesh.ip(host)).collect();
            let is_cut = mesh.fabric().state().ledger.has_severed_among(&hosts);
            // One peer may take the place of another between two looks.
            if one.hosts().any(|host| restarted.contains(host)) {
                spells.note(false, now);
            }
            spells.note(*chance == Chance::Good && !is_cut, now);
            let service = (one.served_by().to_owned(), one.name.clone());
            let serves = serves(mesh, &service.0, &service.1);
            self.backends.entry(service).or_default().note(serves, now);
        }
        for (hub, _) in mesh.scenario().peers.iter().filter(|(_, peer)| peer.listen.is_some()) {
            let takes = mesh.is_running(hub)
                && !mesh.is_leaving(hub)
                && !mesh.is_frozen(hub)
                && mesh.hosts_of(hub) == [hub.as_str()];
            let spells = self.hubs.entry(hub.clone()).or_default();
            if restarted.contains(hub) {
                spells.note(false, now);
            }
            spells.note(takes, now);
            for client in &mesh.scenario().clients {
                // What only waits arrives: a client that waits with it is answered.
                let is_open = mesh.is_open(client, hub)
                    || mesh.is_held(client, hub) && are_held_briefly(mesh.scenario(), client, hub);
                let is_open = mesh.is_running(client) && is_open;
                let way = (client.clone(), hub.clone());
                self.ways.entry(way).or_default().note(is_open, now);
            }
        }
    }

    /// The peers that have been started since the last look.
    fn restarted(&mut self, mesh: &Mesh) -> BTreeSet<String> {
        let hosts = mesh.scenario().peers.keys();
        let is_new = |host: &&String| {
            let starts = mesh.starts(host);
            self.starts.insert((*host).clone(), starts) != Some(starts)
        };
        hosts.filter(is_new).cloned().collect()
    }

    /// Those of the names of a request at `hub` that are served, where nothing that it depends on
    /// was broken from its beginning to its end. What was broken before must be whole again for
    /// [`WHOLE_FOR`], and its listening peer must know the names.
    ///
    /// # Errors
    /// What was not so.
    pub(super) fn held(
        &self,
        outcome: &Outcome,
        hub: &str,
        names: &[String],
    ) -> Result<BTreeSet<String>, &'static str> {
        let (from, Some(until)) = (outcome.began, outcome.ended) else { return Err("no end") };
        let until = until + LOOKED_AT;
        if !self.hubs.get(hub).is_some_and(|takes| takes.settle(WHOLE_FOR, from, until)) {
            return Err("its listening peer");
        }
        let way = (outcome.client.clone(), hub.to_owned());
        if !self.ways.get(&way).is_some_and(|way| way.settle(WHOLE_FOR, from, until)) {
            return Err("the way of its client");
        }
        let mut known = BTreeSet::new();
        for (one, spells) in self.names.iter().filter(|(one, _)| is_asked(one, hub, names)) {
            known.insert(one.name.clone());
            let service = (one.served_by().to_owned(), one.name.clone());
            match () {
                // News of several paths travel for some time.
                () if one.hops() > 1 && !spells.cover(BEGINNING, until) => {
                    return Err("several hops");
                }
                () if !spells.settle(WHOLE_FOR, from, until) => return Err("a link"),
                () if !self.backends[&service].settle(WHOLE_FOR, from, until) => {
                    return Err("a backend");
                }
                () if !self.was_up(hub, &one.name, from) => return Err("names that come up"),
                () => {}
            }
        }
        Ok(known)
    }

    fn was_up(&self, hub: &str, name: &str, at: Duration) -> bool {
        let up = self.ups.get(&(hub.to_owned(), name.to_owned()));
        up.is_some_and(|up| up.cover(at, at))
    }

    /// The registrations that were ever asked for.
    pub(super) fn names(&self) -> impl Iterator<Item = &Wanted> {
        self.names.keys()
    }

    /// Takes in what the listening peer on this host says of its names.
    pub(super) fn saw(&mut self, host: &str, numbers: &Snapshot, now: Duration) {
        for ((_, name), up) in self.ups.iter_mut().filter(|((at, _), _)| at == host) {
            // One that was started anew knows none of those from before.
            if !numbers.names.iter().any(|row| row.name == *name) {
                up.note(false, now);
            }
        }
        for row in &numbers.names {
            let up = self.ups.entry((host.to_owned(), row.name.clone())).or_default();
            up.note(!row.providers.is_empty(), now);
        }
    }
}

/// Whether a registration is for one of these names at a listening peer.
pub(super) fn is_asked(one: &Wanted, hub: &str, names: &[String]) -> bool {
    one.listening == hub && names.iter().any(|name| serves_for(&one.name, name))
}

/// Whether what is held between two hosts is released before anybody has given up for it.
fn are_held_briefly(scenario: &Scenario, a: &str, b: &str) -> bool {
    let is_it = |hosts: &[String; 2]| hosts.iter().all(|host| host == a || host == b);
    let mut held = None;
    for step in scenario.steps() {
        if step.hold.as_ref().is_some_and(|hold| is_it(&hold.0)) {
            held = Some(step.at);
        }
        if step.release.as_ref().is_some_and(|release| is_it(&release.0))
            && let (Some(Some(from)), Some(until)) = (held.take(), step.at)
            && until.0 > from.0 + BRIEFLY
        {
            return false;
        }
    }
    held.is_none()
}

/// Whether all backends of a service answer.
fn serves(mesh: &Mesh, host: &str, name: &str) -> bool {
    let Some(peer) = mesh.scenario().peers.get(host) else { return false };
    let own = peer.offers.get(name).into_iter().flat_map(|offer| offer.own.values());
    let mut all = peer.services.get(name).into_iter().chain(own);
    all.all(|backend| {
        let Ok(Endpoint { host: at, port }) = backend.parse() else { return false };
        let hosts = mesh.hosts_of(&at);
        let [at] = hosts.as_slice() else { return false };
        let spec = mesh.backend(at).filter(|spec| spec.port == port);
        mesh.is_running(at)
            && mesh.is_open(host, at)
            && spec.is_some_and(|spec| spec.kind.can_succeed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_what_was_whole_all_the_time_is_relied_on() {
        let mut spells = Spells::default();
        assert!(!spells.cover(at(0), at(0)));
        for (is_so, now) in [(true, 0), (true, 1), (false, 10), (false, 11), (true, 20)] {
            spells.note(is_so, at(now));
        }
        assert_eq!(spells.0, [(at(0), Some(at(10))), (at(20), None)]);
        assert!(spells.settle(at(5), at(1), at(9)), "from the beginning on");
        assert!(!spells.settle(at(5), at(1), at(10)), "it broke before the end");
        assert!(!spells.settle(at(5), at(24), at(30)), "it is whole for less than that");
        assert!(spells.settle(at(5), at(25), at(30)));
    }
}
