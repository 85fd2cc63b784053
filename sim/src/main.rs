//! The `ops-proxy-sim` command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ops_proxy_sim::run::{Options, Played, run};
use ops_proxy_sim::scenario::Scenario;

/// Plays peers on a simulated network that breaks on purpose.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenario files and says what came of each.
    Run {
        /// The scenario files.
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Another seed than the scenario's own.
        #[arg(long)]
        seed: Option<u64>,
        /// Print every event, in the order of simulated time.
        #[arg(long)]
        trace: bool,
        /// Print the metrics and what the clients saw.
        #[arg(long)]
        story: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { scenarios, seed, trace, story } => {
            let mut worst = ExitCode::SUCCESS;
            for path in scenarios {
                match Scenario::load(&path) {
                    Ok(scenario) => {
                        let played = run(&scenario, &Options { seed, record: trace });
                        tell(&path, &played, story);
                        if played.failure.is_some() {
                            worst = ExitCode::FAILURE;
                        }
                    }
                    Err(error) => {
                        eprintln!("{error}");
                        return ExitCode::from(2);
                    }
                }
            }
            worst
        }
    }
}

fn tell(path: &std::path::Path, played: &Played, story: bool) {
    for event in &played.events {
        println!("{event}");
    }
    if story {
        print!("{}", played.story());
    }
    let verdict = played.failure.as_deref().unwrap_or("ok");
    let lasted = humantime::format_duration(played.lasted);
    println!(
        "{}: seed {}, {lasted}, hash {:016x}: {verdict}",
        path.display(),
        played.seed,
        played.hash
    );
}
