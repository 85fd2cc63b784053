//! The `ops-proxy` command: its arguments and exit codes.

mod access;
mod ask;
mod check;
mod completions;
mod copying;
mod demo;
mod failure;
mod found;
mod help;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod log;
mod man;
#[cfg(feature = "otlp")]
mod otlp;
mod pki;
mod reload;
mod run;
pub mod settings;
mod signals;
mod sources;
mod spans;
mod state;
mod status;
mod supervisor;
mod table;
mod threads;
mod trace;
mod upgrade;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use failure::Failure;
use sources::Sources;

use crate::version::version;

/// A reverse-tunnel mesh: reach services behind NAT by name
#[derive(Debug, Parser)]
#[command(name = "ops-proxy", version = version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a peer; SIGTERM or SIGINT drains it, a second one ends it at once
    Run(Sources),
    /// Check the settings for `run`: print what the peer would do, or which key is wrong
    Check(check::Options),
    /// Run a complete mesh on this machine, with its own backends, and print what to try
    Demo(demo::Options),
    /// Show how a running peer is: names, links, requests, errors and certificates
    Status(status::Options),
    /// Tell what became of one request, by its proxy id; exit code 1 if the peer does not know it
    Trace(trace::Options),
    /// Create a CA and peer certificates, for a mesh without a CA of its own
    #[command(subcommand)]
    Pki(pki::Command),
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Options),
    /// Print the manual page, or write those of all commands into a directory
    Man(man::Options),
}

/// Runs the command that the process's arguments and environment ask for. Exit
/// codes: 0 clean exit, 2 invalid configuration (the message names the key), 1 any
/// other failure.
pub fn main() -> ExitCode {
    let command = Cli::command();
    let parsed = help::explained(command.clone()).try_get_matches();
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // If the terminal is gone, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let own = matches.subcommand().map(|(_, own)| own).unwrap_or(&matches);
    let outcome: Result<(), Failure> = match cli.command {
        Command::Run(sources) => run::run(sources),
        Command::Check(options) => check::check(options, own),
        Command::Demo(options) => demo::demo(options),
        Command::Status(options) => status::status(&options),
        Command::Trace(options) => trace::trace(&options),
        Command::Pki(command) => pki::pki(command),
        Command::Completions(options) => completions::completions(&options, command),
        Command::Man(options) => man::man(&options, command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::say(format!("ops-proxy: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests;
