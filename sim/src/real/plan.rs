//! Many scenarios in both worlds: the simulation of all, then the real runs, many at a time,
//! since those mostly wait.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::counters::is_compared;
use super::player::{Against, Setup, play};
use super::verdict::Verdict;
use crate::run::{Options, Played, run};
use crate::scenario::Scenario;

/// What to play, and how.
#[derive(Debug)]
pub struct Plan {
    /// The scenarios, each with its file.
    pub scenarios: Vec<(PathBuf, Scenario)>,
    /// The command under test.
    pub binary: PathBuf,
    /// A scenario whose simulated run took longer is not played.
    pub longest: Duration,
    /// Real runs at a time.
    pub jobs: usize,
    /// Where the peers' logs are kept, in a folder for each scenario; nowhere if absent.
    pub logs: Option<PathBuf>,
}

/// What came of one scenario.
#[derive(Debug)]
pub struct Told<'a> {
    /// Its file.
    pub file: &'a PathBuf,
    /// It.
    pub scenario: &'a Scenario,
    /// What came of it.
    pub verdict: Verdict,
    /// How long that took.
    pub took: Duration,
    /// What differed the first time, if it was played a second time.
    pub first: Option<String>,
}

impl Plan {
    /// Plays all of it, and tells of each scenario when it is done. What differs and should not is
    /// played a second time in the end, alone: so many at a time make a machine slow, and on one
    /// that is slow, things may come in another order. Ends early once `over` is set: what was not
    /// played is then not told of.
    pub fn play(&self, over: &AtomicBool, tell: impl Fn(Told<'_>) + Sync) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let simulated = Mutex::new(Vec::new());
        in_parallel(cores, &self.scenarios, |(file, scenario)| {
            if over.load(Relaxed) {
                return;
            }
            match self.before(scenario) {
                Ok(played) => {
                    let mut all = simulated.lock().expect("nobody panics while holding this");
                    all.push((file, scenario, played));
                }
                Err(verdict) => {
                    let took = Duration::ZERO;
                    tell(Told { file, scenario, verdict, took, first: None });
                }
            }
        });
        let mut simulated = simulated.into_inner().expect("nobody panics while holding this");
        // Those that take longest begin first, so that the last ones end soon.
        simulated.sort_by_key(|(_, _, played)| std::cmp::Reverse(played.quiet_after));
        let again = Mutex::new(Vec::new());
        in_parallel(self.jobs, &simulated, |one @ (file, scenario, played)| {
            let Some((verdict, took)) = self.live(file, scenario, played, over) else { return };
            match verdict {
                Verdict::Differs(what) if scenario.real.differs.is_none() => {
                    again.lock().expect("nobody panics while holding this").push((one, what));
                }
                verdict => tell(Told { file, scenario, verdict, took, first: None }),
            }
        });
        for ((file, scenario, played), what) in
            again.into_inner().expect("nobody panics while holding this")
        {
            let Some((verdict, took)) = self.live(file, scenario, played, over) else { return };
            tell(Told { file, scenario, verdict, took, first: Some(what) });
        }
    }

    /// Plays one on the real binary; `None` once it is over.
    fn live(
        &self,
        file: &Path,
        scenario: &Scenario,
        played: &Played,
        over: &AtomicBool,
    ) -> Option<(Verdict, Duration)> {
        if over.load(Relaxed) {
            return None;
        }
        let began = Instant::now();
        let logs = self.logs.as_ref().zip(file.file_stem());
        let logs = logs.map(|(logs, name)| logs.join(name));
        let setup = Setup { binary: &self.binary, logs, over, upgrades: Vec::new() };
        let verdict = match play(scenario, &Against::Simulated(played), &setup) {
            Ok(_) => Verdict::Agrees,
            Err(what) => Verdict::Differs(what),
        };
        Some((verdict, began.elapsed()))
    }

    /// The simulated run of a scenario that is to be played.
    fn before(&self, scenario: &Scenario) -> Result<Played, Verdict> {
        if let Some(why) = &scenario.real.skip {
            return Err(Verdict::Skipped(why.clone()));
        }
        let known = |key: &&String| is_compared(key) || scenario.peers.contains_key(*key);
        if let Some(key) = scenario.real.uncompared.keys().find(|key| !known(key)) {
            let what =
                format!("real.uncompared: {key} is neither a peer nor a metric that is compared");
            return Err(Verdict::Differs(what));
        }
        let too_long = |takes: Duration| {
            let [takes, longest] = [takes, self.longest]
                .map(|time| humantime::format_duration(Duration::from_secs(time.as_secs())));
            Verdict::Skipped(format!("it takes {takes}, longer than {longest}"))
        };
        // Before it is simulated, which takes a while.
        if at_least(scenario) > self.longest {
            return Err(too_long(at_least(scenario)));
        }
        let played = run(scenario, &Options::default());
        if let Some(failure) = &played.failure {
            return Err(Verdict::Differs(format!("it fails in the simulation already: {failure}")));
        }
        if played.quiet_after > self.longest {
            return Err(too_long(played.quiet_after));
        }
        Ok(played)
    }
}

/// The time before which the last step cannot begin.
fn at_least(scenario: &Scenario) -> Duration {
    let mut began = Duration::ZERO;
    for step in scenario.steps() {
        let after = step.after.map_or(began, |after| began + after.0);
        began = began.max(step.at.map_or(after, |at| at.0));
    }
    began
}

/// Does this with each of `all`, so many at a time.
fn in_parallel<'a, T: Sync>(jobs: usize, all: &'a [T], act: impl Fn(&'a T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, all.len().max(1)) {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Relaxed)) {
                    act(one);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_takes_at_least_as_long_as_its_steps_say() {
        let text = "title = \"t\"\nclients = [\"c\"]\n\
            [[steps]]\nat = \"20s\"\ncheckpoint = \"a\"\n\
            [[steps]]\nafter = \"5s\"\ncheckpoint = \"b\"\n";
        let scenario = Scenario::parse("t.toml", text).unwrap();
        assert_eq!(at_least(&scenario), Duration::from_secs(25));
    }

    #[test]
    fn each_is_done_once_however_many_at_a_time() {
        for jobs in [0, 1, 3, 100] {
            let all: Vec<usize> = (1..=10).collect();
            let sum = AtomicUsize::new(0);
            in_parallel(jobs, &all, |one| {
                sum.fetch_add(*one, Relaxed);
            });
            assert_eq!(sum.into_inner(), 55);
        }
    }
}
