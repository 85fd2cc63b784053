//! The `ops-proxy` command: what it takes, and how it ends.

mod check;
mod demo;
mod failure;
mod pki;
mod run;
pub mod settings;
mod signals;
mod sources;

use std::process::ExitCode;

use clap::Parser;

use crate::peer::StartError;
use failure::Failure;
use sources::Sources;

/// A reverse-tunnel mesh: reach services behind NAT by name, byte for byte
#[derive(Debug, Parser)]
#[command(name = "ops-proxy", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a peer until SIGTERM or SIGINT, which drains it; a second one ends it at once
    Run(Sources),
    /// Take what `run` takes, and say what the peer would do, or which key is at fault
    Check(Sources),
    /// Show a whole mesh on this machine, with backends of its own, and what to try on it
    Demo(demo::Options),
    /// Make a CA and certificates for peers, for a mesh that has no other CA
    #[command(subcommand)]
    Pki(pki::Command),
}

/// The whole command: reads the process's arguments and environment, and runs
/// until done. Exit codes: 0 clean, 2 bad configuration (the message names the
/// key), 1 anything else.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.command {
        Command::Run(sources) => run::run(sources),
        Command::Check(sources) => check::check(sources),
        Command::Demo(options) => demo::demo(options),
        Command::Pki(command) => pki::pki(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ops-proxy: {failure}");
            let configuration =
                matches!(failure, Failure::Config(_) | Failure::Start(StartError::Config(_)));
            ExitCode::from(if configuration { 2 } else { 1 })
        }
    }
}
