//! The `ops-proxy` command: what it takes, and how it ends.

mod check;
mod demo;
mod pki;
mod run;
pub mod settings;
mod signals;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{ConfigError, PeerConfig};
use crate::net::Net;
use crate::net::tokio::TokioNet;
use crate::peer::StartError;
use settings::{Settings, Surroundings};

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

/// Where settings come from; the environment is read with the flags.
#[derive(Debug, clap::Args)]
struct Sources {
    /// A TOML file with the same settings, `_` for `-` in their names
    #[arg(long, env = "OPS_PROXY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// Why the command ends with another code than 0.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Exit code 2, as for a bad command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("ended by a signal before it was done")]
    Interrupted,
    #[error("{0}")]
    Demo(String),
    #[error("{0}")]
    Pki(String),
    #[error("{0}")]
    Io(#[from] io::Error),
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

impl Sources {
    /// Flags and environment, and for the rest the file.
    fn merged(self) -> Result<Settings, ConfigError> {
        let Some(path) = self.config else { return Ok(self.settings) };
        let in_file = |problem: String| format!("{}: {problem}", path.display());
        let text = fs::read_to_string(&path)
            .map_err(|error| ConfigError::new("config", in_file(error.to_string())))?;
        let file = Settings::from_toml(&text)
            .map_err(|error| ConfigError::new(error.key, in_file(error.problem)))?;
        Ok(self.settings.or(file))
    }
}

/// The configuration of a peer in this process.
fn configure(settings: Settings) -> Result<PeerConfig, ConfigError> {
    let mut random = [0; 4];
    TokioNet.fill_random(&mut random);
    settings.into_config(Surroundings {
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        node: std::env::var("NODE_NAME").ok(),
        pod: std::env::var("POD_NAME").ok(),
        token: std::env::var("OPS_PROXY_TOKEN").ok(),
        random,
    })
}
