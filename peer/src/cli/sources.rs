//! Where a peer's settings come from: flags, environment and file.

use std::fs;
use std::path::PathBuf;

use super::settings::{ProxyVariables, Settings, Surroundings};
use crate::config::{ConfigError, PeerConfig};
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;
use crate::trust::tls::check_writers;

/// Where settings come from; the environment is read with the flags.
#[derive(Debug, clap::Args)]
pub(super) struct Sources {
    /// A TOML file with the same settings; its keys have `_` where flags have `-`
    #[arg(long, env = "OPS_PROXY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Sources {
    /// Flags and environment, and for the rest the file.
    pub(super) fn merged(self) -> Result<Settings, ConfigError> {
        let Some(path) = self.config else { return Ok(self.settings) };
        let in_file = |problem: String| format!("{}: {problem}", path.display());
        check_writers(&TokioNet, "config", &path)?;
        let text = fs::read_to_string(&path)
            .map_err(|error| ConfigError::new("config", in_file(error.to_string())))?;
        let file = Settings::from_toml(&text)
            .map_err(|error| ConfigError::new(error.key, in_file(error.problem)))?;
        Ok(self.settings.or(file))
    }
}

/// The configuration of a peer in this process.
pub(super) fn configure(settings: Settings) -> Result<PeerConfig, ConfigError> {
    let mut random = [0; 4];
    TokioNet.fill_random(&mut random);
    settings.into_config(Surroundings {
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        node: std::env::var("NODE_NAME").ok(),
        pod: std::env::var("POD_NAME").ok(),
        token: std::env::var("OPS_PROXY_TOKEN").ok(),
        proxies: ProxyVariables::read(|name| std::env::var(name).ok()),
        random,
    })
}
