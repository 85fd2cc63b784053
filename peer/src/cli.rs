//! The `ops-proxy` command: its arguments and exit codes.

mod access;
mod ask;
mod check;
mod demo;
mod failure;
mod found;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod log;
mod pki;
mod reload;
mod run;
pub mod settings;
mod signals;
mod sources;
mod state;
mod status;
mod supervisor;
mod table;
mod trace;

use std::process::ExitCode;

use clap::Parser;

use failure::Failure;
use sources::Sources;

/// A reverse-tunnel mesh: reach services behind NAT by name
#[derive(Debug, Parser)]
#[command(name = "ops-proxy", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a peer; SIGTERM or SIGINT drains it, a second one ends it at once
    Run(Sources),
    /// Check the settings for `run`: print what the peer would do, or which key is wrong
    Check(Sources),
    /// Run a complete mesh on this machine, with its own backends, and print what to try
    Demo(demo::Options),
    /// Show how a running peer is: names, links, requests, errors and certificates
    Status(status::Options),
    /// Tell what became of one request, by its proxy id; exit code 1 if the peer does not know it
    Trace(trace::Options),
    /// Create a CA and peer certificates, for a mesh without a CA of its own
    #[command(subcommand)]
    Pki(pki::Command),
}

/// Runs the command that the process's arguments and environment ask for. Exit
/// codes: 0 clean exit, 2 invalid configuration (the message names the key), 1 any
/// other failure.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome: Result<(), Failure> = match cli.command {
        Command::Run(sources) => run::run(sources),
        Command::Check(sources) => check::check(sources),
        Command::Demo(options) => demo::demo(options),
        Command::Status(options) => status::status(&options),
        Command::Trace(options) => trace::trace(&options),
        Command::Pki(command) => pki::pki(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::say(format!("ops-proxy: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}
