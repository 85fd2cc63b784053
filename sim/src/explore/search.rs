//! Many random scenarios, as fast as the machine plays them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::panics;
use super::shrink::shrink;
use crate::generate;
use crate::run::{Options, Played, Reached, run};
use crate::scenario::Scenario;

/// Every so many seeds one is played a second time, and must be the same run.
const TWICE_EVERY: u64 = 10;

/// Failing seeds that are shrunk and written down; more are only counted.
const MOST_FAILURES: usize = 5;

/// How far to go.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first seed.
    pub from: u64,
    /// So many seeds.
    pub seeds: u64,
    /// On so many threads.
    pub jobs: usize,
    /// Stop after this time on the clock.
    pub at_most: Option<Duration>,
    /// Where failing scenarios are written; nowhere if absent.
    pub failures: Option<PathBuf>,
    /// Stop at the first failing seed, and do not shrink it.
    pub only_first: bool,
}

/// A seed whose run failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The scenario, shrunk.
    pub scenario: Scenario,
    /// Where it was written.
    pub file: Option<PathBuf>,
}

/// What an exploration has found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Runs so far.
    pub runs: u64,
    /// Simulated time of all of them.
    pub simulated: Duration,
    /// How often each state was reached.
    pub reached: Reached,
    /// The failures, the first few of them shrunk.
    pub failures: Vec<Failure>,
    /// Failing seeds beyond those.
    pub more_failures: Vec<u64>,
}

/// Plays seeds until the plan is fulfilled. `progress` is told from time to time,
/// with the time on the clock.
pub fn explore(plan: &Plan, progress: impl Fn(&Found, Duration) + Sync) -> Found {
    panics::keep_quiet();
    let clock = Clock::start();
    let next = AtomicU64::new(plan.from);
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    let late = plan.at_most.is_some_and(|most| clock.elapsed() >= most);
                    let enough = plan.only_first && !lock(&found).failures.is_empty();
                    if seed - plan.from >= plan.seeds || late || enough {
                        return;
                    }
                    play(seed, plan, &found);
                    progress(&lock(&found), clock.elapsed());
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Threads end their seeds in any order; the first is the smallest.
    found.failures.sort_by_key(|failure| failure.seed);
    found
}

fn lock(found: &Mutex<Found>) -> std::sync::MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn play(seed: u64, plan: &Plan, found: &Mutex<Found>) {
    panics::forget();
    let scenario = generate::scenario(seed);
    let mut played = run(&scenario, &Options::default());
    if played.failure.is_none() && seed.is_multiple_of(TWICE_EVERY) {
        let again = run(&scenario, &Options::default());
        if again.hash != played.hash {
            played.failure = Some(format!("one seed, two runs: {seed}"));
        }
    }
    let first = {
        let mut found = lock(found);
        found.runs += 1;
        found.simulated += played.lasted;
        found.reached.merge(&played.reached);
        found.failures.len() < MOST_FAILURES
    };
    let Some(what) = played.failure.clone() else { return };
    if !first {
        return lock(found).more_failures.push(seed);
    }
    let what = panics::with_last(what);
    if plan.only_first {
        return lock(found).failures.push(Failure { seed, what, scenario, file: None });
    }
    let scenario = shrink(&scenario, &what);
    let file = plan.failures.as_ref().and_then(|folder| {
        let written = write_down(folder, seed, &what, &scenario);
        written.map_err(|error| eprintln!("cannot write the failing scenario: {error}")).ok()
    });
    lock(found).failures.push(Failure { seed, what, scenario, file });
}

/// Writes a failing scenario with what its run did, and how to see it again.
fn write_down(folder: &Path, seed: u64, what: &str, scenario: &Scenario) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("seed-{seed}.toml"));
    let played: Played = run(scenario, &Options { seed: None, record: true });
    let failure = played.failure.unwrap_or_else(|| what.to_owned());
    let replay = format!("ops-proxy-sim replay {}", file.display());
    let head = format!(
        "# Found with seed {seed}: {}\n# Replay: {replay}\n",
        failure.lines().next().unwrap_or("")
    );
    std::fs::write(&file, format!("{head}{}", scenario.to_toml()))?;
    let events: String = played.events.iter().map(|event| format!("{event}\n")).collect();
    std::fs::write(file.with_extension("trace"), format!("{events}{failure}\n"))?;
    Ok(file)
}

/// Time on the machine's clock, for progress and limits of the exploration.
struct Clock(std::time::Instant);

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the machine's time, outside of any run")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
