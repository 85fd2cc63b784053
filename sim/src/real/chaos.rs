//! Explored scenarios on the real binary, one after another for as long as there is time.
//!
//! Each is played in the simulation first, which says what is served at the end. Beside that, the
//! peers of the real world are held against what must always hold: no two runs are the same.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::player::{Against, Setup, play};
use crate::generate;
use crate::run::{Options, run};
use crate::scenario::{Kind, PeerSpec, Scenario};

/// How far to go.
#[derive(Debug)]
pub struct Chaos {
    /// The first seed.
    pub from: u64,
    /// So many seeds at most.
    pub seeds: u64,
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
    /// The first thing that must not be so.
    pub violation: Option<String>,
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
                        if seed - self.from >= self.seeds {
                            return;
                        }
                        let Some(scenario) = drawn(seed) else { continue };
                        let violation = self.violation(seed, &scenario, over);
                        if !over.load(Relaxed) {
                            tell(Lived { seed, scenario, violation });
                        }
                    }
                });
            }
        });
    }

    fn violation(&self, seed: u64, scenario: &Scenario, over: &AtomicBool) -> Option<String> {
        let played = run(scenario, &Options::default());
        if let Some(failure) = played.failure {
            return Some(format!("it fails in the simulation already: {failure}"));
        }
        let logs = self.logs.as_ref().map(|logs| logs.join(format!("seed-{seed}")));
        let setup = Setup { binary: &self.binary, logs, over };
        play(scenario, &Against::Healed(&played.probes), &setup).err()
    }
}

/// The explored scenario of this seed, without what nobody can do to one host alone; `None` where
/// a peer that connects registers nothing for a while, which the command refuses.
fn drawn(seed: u64) -> Option<Scenario> {
    let mut scenario = generate::scenario(seed);
    scenario.steps.retain(|step| !matches!(step.get_ref().kind(), Kind::Clock(_)));
    let registers = |peer: &PeerSpec| {
        let [services, transit, reach] =
            [peer.services.is_empty(), peer.transit.is_empty(), peer.reach.is_empty()];
        peer.connect.is_empty() || !(services && transit && reach)
    };
    let fits = scenario.peers.values().all(registers)
        && scenario
            .steps()
            .filter_map(|step| step.configure.as_ref())
            .all(|one| registers(&one.of(&scenario.peers[&one.peer])));
    fits.then_some(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_what_is_drawn_can_be_played() {
        let drawn: Vec<Scenario> = (1..=40).filter_map(drawn).collect();
        assert!(drawn.len() >= 30, "{} of 40", drawn.len());
        let steps = || drawn.iter().flat_map(Scenario::steps);
        assert!(steps().all(|step| step.clock.is_none()));
        assert!(steps().any(|step| step.crash.is_some()));
    }
}
