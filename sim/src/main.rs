//! The `ops-proxy-sim` command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ops_proxy_sim::explore::{Found, Plan, explore};
use ops_proxy_sim::real::{self, Came, Chaos, Lived, Tally};
use ops_proxy_sim::run::{Options, Played, run};
use ops_proxy_sim::scenario::Scenario;
use ops_proxy_sim::{generate, report};

/// Plays peers on a simulated network that breaks on purpose.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenario files and says what came of each
    Run {
        /// The scenario files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Another seed than the scenario's own
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        show: Show,
    },
    /// Plays random meshes, loads and faults; what fails is made small and kept
    Explore {
        /// So many seeds
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Stop after so many minutes
        #[arg(long)]
        minutes: Option<u64>,
        /// Where failing scenarios are written
        #[arg(long, default_value = "failures")]
        failures: PathBuf,
        /// Stop at the first failing seed, and print only it and what was wrong
        #[arg(long)]
        only_first: bool,
        /// Fail as well if a state was never reached that should be sometimes; takes some
        /// thousand seeds
        #[arg(long, conflicts_with = "only_first")]
        reach_all: bool,
    },
    /// Plays scenario files in the real world as well, and says whether both agree
    ///
    /// Each host is a network namespace, and each peer a process of the real command. Takes
    /// root, and `ip` and `ss` of iproute2.
    Real {
        /// The scenario files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Plays what `explore` draws in the real world until time is up
    ///
    /// No two runs are the same there, so peers are held against what must always hold: no byte
    /// is wrong, every request ends and is counted once, and what is served in the simulation
    /// once all is healed is served here. Needs what `real` needs.
    Chaos {
        /// Start no new seed after this many minutes
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At most this many seeds
        #[arg(long)]
        seeds: Option<u64>,
        /// At a time; they mostly wait
        #[arg(long, default_value_t = 8)]
        jobs: usize,
        /// Where scenarios that went wrong are written
        #[arg(long, default_value = "failures")]
        failures: PathBuf,
        #[command(flatten)]
        real: UnderTest,
    },
    /// Plays one scenario and shows every event
    Replay {
        /// The scenario file
        scenario: PathBuf,
    },
    /// Prints the scenario that `explore` plays for a seed
    Draw {
        /// The seed
        seed: u64,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Skip scenarios that take longer than this in the simulation
    #[arg(long, value_name = "TIME", default_value = "90s")]
    longest: humantime::Duration,
    /// At a time; they mostly wait
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    #[command(flatten)]
    real: UnderTest,
}

#[derive(Debug, Args)]
struct UnderTest {
    /// The command under test [default: `ops-proxy` beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Keep what the peers log, in a folder for each scenario
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl UnderTest {
    /// The command under test; `None` once it was said what is missing.
    fn binary(&self) -> Option<PathBuf> {
        if let Err(missing) = real::can_be_made() {
            eprintln!("{missing}");
            return None;
        }
        let beside = || Ok(std::env::current_exe()?.with_file_name("ops-proxy"));
        let binary = self.binary.clone().map_or_else(beside, Ok).and_then(std::path::absolute);
        let binary = binary.ok().filter(|binary| binary.is_file());
        if binary.is_none() {
            eprintln!("there is no `ops-proxy` beside this program: say with --binary where it is");
        }
        binary
    }
}

#[derive(Debug, Args)]
struct Show {
    /// Print every event, in the order of simulated time
    #[arg(long)]
    trace: bool,
    /// Print the metrics and what the clients saw
    #[arg(long)]
    story: bool,
    /// Write a page with a sequence diagram and plots
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// How many seeds pass between two lines of `chaos`.
const PROGRESS_EVERY: u64 = 20;

/// A scenario file that cannot be run, as a wrong configuration of the peer.
const BAD_SCENARIO: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { scenarios, seed, show } => play_all(&scenarios, seed, &show),
        Command::Real { scenarios, how } => play_for_real(&scenarios, how),
        Command::Chaos { minutes, from, seeds, jobs, failures, real } => {
            let Some(binary) = real.binary() else { return ExitCode::FAILURE };
            let at_most = Duration::from_secs(60 * minutes);
            live(&Chaos { from, seeds, at_most, jobs, binary, logs: real.logs }, &failures)
        }
        Command::Replay { scenario } => {
            play_all(&[scenario], None, &Show { trace: true, story: false, report: None })
        }
        Command::Explore { seeds, from, jobs, minutes, failures, only_first, reach_all } => {
            let at_most = minutes.map(|minutes| Duration::from_secs(60 * minutes));
            let failures = Some(failures);
            search(&Plan { from, seeds, jobs, at_most, failures, only_first }, reach_all)
        }
        Command::Draw { seed } => {
            print!("{}", generate::scenario(seed).to_toml());
            ExitCode::SUCCESS
        }
    }
}

fn play_all(scenarios: &[PathBuf], seed: Option<u64>, show: &Show) -> ExitCode {
    let mut worst = ExitCode::SUCCESS;
    for path in scenarios {
        let scenario = match Scenario::load(path) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(BAD_SCENARIO);
            }
        };
        let record = show.trace || show.report.is_some();
        let played = run(&scenario, &Options { seed, record });
        tell(path, &played, show);
        if let Some(file) = &show.report
            && let Err(error) = std::fs::write(file, report::page(&scenario, &played))
        {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
        if played.failure.is_some() {
            worst = ExitCode::FAILURE;
        }
    }
    worst
}

fn play_for_real(files: &[PathBuf], how: How) -> ExitCode {
    let Some(binary) = how.real.binary() else { return ExitCode::FAILURE };
    let mut scenarios = Vec::new();
    for path in files {
        match Scenario::load(path) {
            Ok(scenario) => scenarios.push((path.clone(), scenario)),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(BAD_SCENARIO);
            }
        }
    }
    let How { longest, jobs, real: UnderTest { logs, .. } } = how;
    let plan = real::Plan { scenarios, binary, longest: longest.into(), jobs, logs };
    let (over, tally) = (AtomicBool::new(false), Tally::default());
    let played = until_told_to_end(&over, || plan.play(&over, |told| tally.tell(&told)));
    println!("{tally}");
    match played {
        Ok(()) if tally.is_good(&plan) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays seeds in the real world; writes down what went wrong there.
fn live(chaos: &Chaos, failures: &Path) -> ExitCode {
    let over = AtomicBool::new(false);
    let [good, violated, left_out, upgrades] = [const { AtomicU64::new(0) }; 4];
    let sum = || {
        let all = [&good, &violated, &left_out, &upgrades].map(|one| one.load(Relaxed));
        let [good, violated, left_out, upgrades] = all;
        let played = good + violated;
        let line = format!(
            "{played} seeds, {violated} violations; {left_out} left out; {upgrades} upgrades"
        );
        (played, line)
    };
    let tell = |Lived { seed, scenario, came }| match came {
        Came::LeftOut => drop(left_out.fetch_add(1, Relaxed)),
        Came::Good { taken_over } => {
            good.fetch_add(1, Relaxed);
            upgrades.fetch_add(taken_over as u64, Relaxed);
            let (played, line) = sum();
            if played.is_multiple_of(PROGRESS_EVERY) {
                eprintln!("{line}");
            }
        }
        Came::Violation(what) => {
            violated.fetch_add(1, Relaxed);
            println!("seed {seed}: {what}");
            let file = failures.join(format!("chaos-{seed}.toml"));
            let first = what.lines().next().unwrap_or_default();
            let text = format!("# In the real world: {first}\n{}", scenario.to_toml());
            let written =
                std::fs::create_dir_all(failures).and_then(|()| std::fs::write(&file, text));
            if let Err(error) = written {
                eprintln!("{}: {error}", file.display());
            }
        }
    };
    let done = until_told_to_end(&over, || chaos.play(&over, tell));
    let (played, line) = sum();
    println!("{line}");
    if let Err(error) = &done {
        eprintln!("{error}");
    }
    match done.is_ok() && played > 0 && violated.load(Relaxed) == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Sets `over` when a signal asks this process to end, so that what was begun is taken down.
fn until_told_to_end(over: &AtomicBool, work: impl FnOnce()) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _guard = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        (interrupt?, terminate?, hangup?)
    };
    let done = tokio::sync::Notify::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = done.notified() => return,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                over.store(true, Relaxed);
            });
        });
        work();
        done.notify_one();
    });
    Ok(())
}

fn tell(path: &Path, played: &Played, show: &Show) {
    for event in played.events.iter().filter(|_| show.trace) {
        println!("{event}");
    }
    if show.story {
        print!("{}", played.story());
    }
    let verdict = played.failure.as_deref().unwrap_or("ok");
    let lasted = humantime::format_duration(played.lasted);
    let Played { seed, hash, .. } = played;
    println!("{}: seed {seed}, {lasted}, hash {hash:016x}: {verdict}", path.display());
}

fn search(plan: &Plan, reach_all: bool) -> ExitCode {
    let told = AtomicU64::new(0);
    let found = explore(plan, |found, elapsed| {
        let second = elapsed.as_secs();
        if told.fetch_max(second, Relaxed) < second {
            eprint!("\r{}", summary(found, elapsed));
        }
        told.fetch_max(second, Relaxed);
    });
    eprintln!();
    if plan.only_first {
        return tell_first(&found);
    }
    for (what, count) in found.reached.iter() {
        println!("{count:>9}  {what}");
    }
    for what in found.reached.missing() {
        println!("    never  {what}");
    }
    for failure in &found.failures {
        println!("\nseed {}: {}", failure.seed, failure.what);
        match &failure.file {
            Some(file) => println!("replay: ops-proxy-sim replay {}", file.display()),
            None => print!("{}", failure.scenario.to_toml()),
        }
    }
    if !found.more_failures.is_empty() {
        println!("\nalso failing: {:?}", found.more_failures);
    }
    let lacking = reach_all && !found.reached.missing().is_empty();
    if found.failures.is_empty() && !lacking { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One line: the seed, a tab, and what was wrong.
fn tell_first(found: &Found) -> ExitCode {
    let Some(first) = found.failures.first() else { return ExitCode::SUCCESS };
    println!("{}\t{}", first.seed, first.what.lines().next().unwrap_or("?"));
    ExitCode::FAILURE
}

fn summary(found: &Found, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    format!(
        "{} runs, {:.1}/s, {:.0} simulated seconds a second, {} failing ",
        found.runs,
        found.runs as f64 / seconds,
        found.simulated.as_secs_f64() / seconds,
        found.failures.len() + found.more_failures.len(),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Without it, a name that is there twice is only noticed where the program is not optimised.
    #[test]
    fn the_command_line_can_be_read() {
        Cli::command().debug_assert();
    }
}
