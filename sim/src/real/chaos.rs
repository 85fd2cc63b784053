//! Explored scenarios on the real binary, one after another for as long as there is time.
//!
//! Each is played in the simulation first, which says what is served at the end. Beside that, the
//! peers of the real world are held against what must always hold: no two runs are the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::player::{Against, Setup, Upgrade, play};
use crate::generate;
use crate::run::{Options, run};
use crate::scenario::steps::Configure;
use crate::scenario::{PeerSpec, Scenario};

/// How far to go.
#[derive(Debug)]
pub struct Chaos {
    /// The first seed.
    pub from: u64,
    /// So many seeds at most, if there is a limit.
    pub seeds: Option<u64>,
    /// No seed is begun after this time.
    pub at_most: Duration,
    /// Real runs at a time.
    pub jobs: usize,
    /// The command under test.
    pub binary: PathBuf,
    /// Where the peers' logs are kept, in a folder for each seed; nowhere if absent.
    pub logs: Option<PathBuf>,
}

/// What came of one seed.
#[derive(Debug)]
pub struct Lived {
    /// It.
    pub seed: u64,
    /// What was played.
    pub scenario: Scenario,
    /// What came of it.
    pub came: Came,
}

/// What came of a seed.
#[derive(Debug)]
pub enum Came {
    /// Nothing was wrong.
    Good {
        /// How often another process has taken over from a peer.
        taken_over: usize,
    },
    /// The first thing that must not be so.
    Violation(String),
    /// It was left out: a peer that connects would register nothing, which the command refuses.
    LeftOut,
}

impl Chaos {
    /// Plays seeds until it is time, and tells of each when it is done. Ends early once `over` is
    /// set: what was begun is then not told of.
    pub fn play(&self, over: &AtomicBool, tell: impl Fn(Lived) + Sync) {
        let (began, next) = (Instant::now(), AtomicU64::new(self.from));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !over.load(Relaxed) && began.elapsed() < self.at_most {
                        let seed = next.fetch_add(1, Relaxed);
                        if self.seeds.is_some_and(|seeds| seed - self.from >= seeds) {
                            return;
                        }
                        let scenario = drawn(seed);
                        let came = match scenario.peers.values().all(registers) {
                            true => self.came(seed, &scenario, over),
                            false => Came::LeftOut,
                        };
                        if !over.load(Relaxed) {
                            tell(Lived { seed, scenario, came });
                        }
                    }
                });
            }
        });
    }

    fn came(&self, seed: u64, scenario: &Scenario, over: &AtomicBool) -> Came {
        let played = run(scenario, &Options::default());
        if let Some(failure) = played.failure {
            return Came::Violation(format!("it fails in the simulation already: {failure}"));
        }
        let logs = self.logs.as_ref().map(|logs| logs.join(format!("seed-{seed}")));
        let upgrades = upgrades(seed, scenario);
        let setup = Setup { binary: &self.binary, logs, over, upgrades };
        let against = Against::Healed(&played.probes);
        // Its own end must not be that of an hour.
        match catch_unwind(AssertUnwindSafe(|| play(scenario, &against, &setup))) {
            Ok(Ok(taken_over)) => Came::Good { taken_over },
            Ok(Err(what)) => Came::Violation(what),
            Err(_) => Came::Violation("the player panicked".to_owned()),
        }
    }
}

/// The explored scenario of this seed, without the steps that have no equal here: nobody can set
/// the clock of one host, and the command refuses a peer that connects and registers nothing.
fn drawn(seed: u64) -> Scenario {
    let mut scenario = generate::scenario(seed);
    let peers = scenario.peers.clone();
    let keeps = |one: &Configure| registers(&one.of(&peers[&one.peer]));
    scenario.steps.retain(|step| {
        let step = step.get_ref();
        step.clock.is_none() && step.configure.as_ref().is_none_or(keeps)
    });
    scenario
}

/// When other processes are to take over, and from which peers: once or twice while the steps are
/// taken. One that is not there then, or drains, is left alone. The simulation knows no processes,
/// and what is served in the end is the same.
fn upgrades(seed: u64, scenario: &Scenario) -> Vec<Upgrade> {
    let mut random = SmallRng::seed_from_u64(seed);
    let last = scenario.steps().filter_map(|step| step.at).map(|at| at.0).max();
    let last = last.unwrap_or_default().as_millis() as u64;
    let peers: Vec<&String> = scenario.peers.keys().collect();
    let count = random.random_range(1..=2);
    let mut upgrades: Vec<Upgrade> = (0..count)
        .map(|_| Upgrade {
            at: Duration::from_millis(random.random_range(0..=last)),
            peer: peers[random.random_range(0..peers.len())].clone(),
        })
        .collect();
    upgrades.sort();
    upgrades
}

/// Whether a peer does not connect for nothing.
fn registers(peer: &PeerSpec) -> bool {
    let nothing = peer.services.is_empty() && peer.transit.is_empty() && peer.reach.is_empty();
    peer.connect.is_empty() || !nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_what_is_drawn_can_be_played() {
        let drawn: Vec<Scenario> = (1..=40).map(drawn).collect();
        let played = drawn.iter().filter(|one| one.peers.values().all(registers)).count();
        assert!(played >= 35, "{played} of 40");
        let steps = || drawn.iter().flat_map(Scenario::steps);
        assert!(steps().all(|step| step.clock.is_none()));
        assert!(steps().any(|step| step.crash.is_some()));
        assert!(steps().any(|step| step.configure.is_some()));
    }

    #[test]
    fn each_run_has_upgrades_among_its_steps() {
        for seed in 1..=40 {
            let scenario = drawn(seed);
            let drawn = upgrades(seed, &scenario);
            assert!((1..=2).contains(&drawn.len()));
            assert!(drawn.is_sorted());
            let last = scenario.steps().filter_map(|step| step.at).map(|at| at.0).max();
            let is_possible = |one: &Upgrade| {
                Some(one.at) <= last.max(Some(Duration::ZERO))
                    && scenario.peers.contains_key(&one.peer)
            };
            assert!(drawn.iter().all(is_possible), "{drawn:?}");
        }
    }
}
