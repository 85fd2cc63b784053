//! The command itself: reads the settings and the files of TLS, so that a mismatched key is
//! found before the restart, and prints what there is to say.

use std::io::{self, Write};

use clap::ArgMatches;
use tokio::runtime::Runtime;

use super::described::describe;
use super::origins::{origins, shown};
use super::steps::{failed, report};
use super::{backends, upstreams};
use crate::cli::failure::Failure;
use crate::cli::pki::subject::SINGLE_LABEL_WILDCARD;
use crate::cli::sources::{Sources, configure, state_file};
use crate::config::{ConfigError, PeerConfig};
use crate::observe::sinks::Sinks;
use crate::shared::Shared;
use crate::stream::net::tokio::TokioNet;
use crate::trust::front::check_front;
use crate::trust::tls::files::{check_files, warnings};
use crate::workers::Workers;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Also dial the peers in --connect and the backends, and say what cannot be reached
    ///
    /// For each peer in --connect: its name in DNS, the proxy on the way, TCP, TLS, and whether
    /// it lets this peer in with its names. For each service: its backends, as its health check
    /// asks them. A running peer of the same id is not disturbed, and no name is registered.
    /// The exit code is 1 if anything cannot be reached.
    #[arg(long)]
    dial: bool,

    #[command(flatten)]
    sources: Sources,
}

/// Checks the settings; `matches` are those of this command, and tell where a value was set.
pub(in crate::cli) fn check(options: Options, matches: &ArgMatches) -> Result<(), Failure> {
    let Options { dial, sources } = options;
    let texts = sources.read()?;
    let settings = sources.merged_with(&texts)?;
    let state_dir = state_file(&settings)?.and(settings.state_dir.clone());
    let config = configure(settings)?;
    let loaded = check_files(&TokioNet, &config)?;
    if let Some(directory) = &config.public_cert {
        check_front(&TokioNet, directory)?;
    }
    check_wildcards(&config)?;
    loaded.check_services(&config, usize::MAX)?;
    for warning in warnings(&TokioNet, &config.tls, &loaded) {
        eprintln!("ops-proxy: warning: {warning}");
    }
    let origins = origins(matches, &texts, &config);
    say(&format!("{}\n{}", describe(&config, state_dir.as_deref()), shown(&origins)))?;
    if dial { dial_all(config) } else { Ok(()) }
}

/// Dials what the configuration names, and prints how that went.
fn dial_all(config: PeerConfig) -> Result<(), Failure> {
    let shared = Shared::new(config, TokioNet, Sinks::default(), Workers::default())?;
    let runtime = Runtime::new()?;
    let steps = runtime.block_on(async {
        let mut steps = upstreams::dial(&shared).await;
        steps.extend(backends::dial(&shared).await);
        steps
    });
    // A resolver that hangs must not hold up the exit.
    runtime.shutdown_background();
    say(&format!("\n{}", report(&steps)))?;
    match failed(&steps) {
        0 => Ok(()),
        count => Err(Failure::Unreachable(count)),
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// A service that no certificate can be valid for is never registered by one.
fn check_wildcards(config: &PeerConfig) -> Result<(), ConfigError> {
    let mut names = config.services.keys().filter(|_| config.shows_certificate());
    match names.find(|name| name.is_single_label_wildcard()) {
        Some(name) => Err(ConfigError::new("service", format!("{name}: {SINGLE_LABEL_WILDCARD}"))),
        None => Ok(()),
    }
}
