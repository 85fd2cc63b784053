//! Makes a failing scenario small: fewer steps, fewer hosts, smaller numbers,
//! for as long as it fails in the same way.

use crate::run::{Options, run};
use crate::scenario::{Order, Scenario, Size, Step};

/// Runs that shrinking may cost.
const MOST_RUNS: usize = 400;

/// The way in which a run failed: its message without what varies.
fn class(failure: &str) -> String {
    let without_time = failure.split_once(": ").map_or(failure, |(_, rest)| rest);
    let plain = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let text: String = without_time.chars().map(plain).collect();
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains('#')).collect();
    words.into_iter().take(6).collect::<Vec<_>>().join(" ")
}

/// A smaller scenario that fails as this one does.
pub(super) fn shrink(scenario: &Scenario, failure: &str) -> Scenario {
    let mut search = Search { class: class(failure), runs: 0, best: scenario.clone() };
    while search.drop_steps() | search.drop_hosts() | search.lessen() {
        if search.runs >= MOST_RUNS {
            break;
        }
    }
    search.best
}

struct Search {
    class: String,
    runs: usize,
    best: Scenario,
}

impl Search {
    /// Takes the candidate if it is valid and fails in the same way.
    fn try_one(&mut self, candidate: &Scenario) -> bool {
        if self.runs >= MOST_RUNS {
            return false;
        }
        let Ok(candidate) = Scenario::parse("shrunk", &candidate.to_toml()) else { return false };
        self.runs += 1;
        let failure = run(&candidate, &Options::default()).failure;
        let same = failure.is_some_and(|failure| class(&failure) == self.class);
        if same {
            self.best = candidate;
        }
        same
    }

    /// Leaves out half of the steps, then quarters, and so on.
    fn drop_steps(&mut self) -> bool {
        let mut shrunk = false;
        let mut part = self.best.steps.len().div_ceil(2);
        while part > 0 {
            let mut start = 0;
            while start < self.best.steps.len() {
                let mut candidate = self.best.clone();
                let end = (start + part).min(candidate.steps.len());
                candidate.steps.drain(start..end);
                if self.try_one(&candidate) {
                    shrunk = true;
                } else {
                    start += part;
                }
            }
            part /= 2;
        }
        shrunk
    }

    /// Leaves out hosts, and with them what refers to them.
    fn drop_hosts(&mut self) -> bool {
        let hosts: Vec<String> = self.best.hosts().map(str::to_owned).collect();
        let mut shrunk = false;
        for host in hosts {
            let mut candidate = self.best.clone();
            candidate.peers.remove(&host);
            candidate.backends.remove(&host);
            candidate.clients.retain(|client| *client != host);
            for peer in candidate.peers.values_mut() {
                let refers = |text: &String| text.split(':').next() == Some(host.as_str());
                peer.connect.retain(|upstream| !refers(upstream));
                peer.services.retain(|_, backend| !refers(backend));
                peer.offers.retain(|name, _| peer.services.contains_key(name));
            }
            for dns in candidate.steps.iter_mut().filter_map(|step| step.get_mut().dns.as_mut()) {
                dns.hosts.retain(|one| *one != host);
            }
            shrunk |= self.try_one(&candidate);
        }
        let services: Vec<(String, String)> = self
            .best
            .peers
            .iter()
            .flat_map(|(host, peer)| peer.services.keys().map(|name| (host.clone(), name.clone())))
            .collect();
        for (host, name) in services {
            let mut candidate = self.best.clone();
            if let Some(peer) = candidate.peers.get_mut(&host) {
                peer.services.remove(&name);
                peer.offers.remove(&name);
                shrunk |= self.try_one(&candidate);
            }
        }
        shrunk
    }

    /// Makes single requests of many, small ones of large, plain ones of odd.
    fn lessen(&mut self) -> bool {
        let mut shrunk = false;
        if self.best.network.order == Order::Random {
            let mut candidate = self.best.clone();
            candidate.network.order = Order::Woken;
            shrunk |= self.try_one(&candidate);
        }
        for index in 0..self.best.steps.len() {
            for lessen in LESSEN {
                let mut candidate = self.best.clone();
                let step = candidate.steps[index].get_mut();
                let before = format!("{step:?}");
                lessen(step);
                if format!("{step:?}") != before {
                    shrunk |= self.try_one(&candidate);
                }
            }
        }
        for host in self.best.peers.keys().cloned().collect::<Vec<_>>() {
            let mut candidate = self.best.clone();
            if let Some(peer) = candidate.peers.get_mut(&host)
                && !peer.tcp.is_empty()
            {
                peer.tcp.clear();
                shrunk |= self.try_one(&candidate);
            }
        }
        shrunk
    }
}

/// Each makes a step a little less than it was.
const LESSEN: [fn(&mut Step); 11] = [
    |step| step.request.iter_mut().for_each(|one| (one.count, one.every) = (1, None)),
    |step| step.request.iter_mut().for_each(|one| one.keep_alive = 1),
    |step| step.request.iter_mut().for_each(|one| drop(one.exchanges.pop())),
    |step| {
        step.request
            .iter_mut()
            .for_each(|one| drop(one.exchanges.splice(..1.min(one.exchanges.len()), [])))
    },
    |step| step.request.iter_mut().for_each(|one| one.cuts = None),
    |step| step.request.iter_mut().for_each(|one| one.read_rate = None),
    |step| step.request.iter_mut().for_each(|one| one.split = false),
    |step| step.request.iter_mut().for_each(|one| one.awaits_settings = false),
    |step| step.request.iter_mut().for_each(|one| one.upload = Size(one.upload.0.min(10))),
    |step| step.request.iter_mut().for_each(|one| one.download = Size(one.download.0.min(10))),
    |step| step.raw.iter_mut().for_each(|raw| (raw.repeat, raw.every) = (None, None)),
];
