//! Where a peer's settings come from: flags, environment and files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::settings::{self, ProxyVariables, Settings, Surroundings};
use super::state::StateFile;
use crate::config::{ConfigError, PeerConfig};
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;
use crate::trust::tls::check_writers;

/// Where settings come from; the environment is read with the flags.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sources {
    /// A TOML file with the same settings, or a directory of such files
    ///
    /// Its keys have `_` where flags have `-`. The *.toml files of a directory are read together. All are read again when they change, and on SIGHUP.
    #[arg(long, env = "OPS_PROXY_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// What the files say, each with its path, in order.
pub(super) type Texts = Vec<(PathBuf, String)>;

impl Sources {
    /// Flags and environment, and for the rest the files, which say this.
    pub(super) fn merged_with(&self, texts: &Texts) -> Result<Settings, ConfigError> {
        Ok(self.settings.clone().or(settings::from_files(texts)?))
    }

    /// Whether there are files that can change.
    pub(super) fn has_files(&self) -> bool {
        self.config.is_some()
    }

    /// What the files say now.
    pub(super) fn read(&self) -> Result<Texts, ConfigError> {
        let Some(path) = &self.config else { return Ok(Texts::new()) };
        let files = match path.is_dir() {
            true => toml_files(path).map_err(|error| in_file(path, &error))?,
            false => vec![path.clone()],
        };
        let read = files.into_iter().map(|path| {
            check_writers(&TokioNet, "config", &path)?;
            let text = fs::read_to_string(&path).map_err(|error| in_file(&path, &error))?;
            Ok((path, text))
        });
        read.collect()
    }
}

/// Where the names that others register are kept, if anywhere; a peer with which nobody can
/// register has none.
///
/// # Errors
/// The directory does not exist.
pub(super) fn state_file(settings: &Settings) -> Result<Option<StateFile>, ConfigError> {
    let directory = settings.state_dir.as_deref().filter(|_| settings.listen.is_some());
    directory.map(StateFile::within).transpose()
}

fn in_file(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::new("config", format!("{}: {error}", path.display()))
}

/// The files of a directory that count, in the order of their names. Those that begin with a
/// dot are not for people, and Kubernetes has its own.
fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(io::Error::other("there is no *.toml file in this directory")),
        false => Ok(files),
    }
}

/// What this process knows of the machine, and does not change while it runs.
pub(super) fn surroundings() -> Surroundings {
    let mut random = [0; 4];
    TokioNet.fill_random(&mut random);
    Surroundings {
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        node: std::env::var("NODE_NAME").ok(),
        pod: std::env::var("POD_NAME").ok(),
        token: std::env::var("OPS_PROXY_TOKEN").ok(),
        proxies: ProxyVariables::read(|name| std::env::var(name).ok()),
        random,
        predecessor: None,
    }
}

/// The configuration of a peer in this process.
pub(super) fn configure(settings: Settings) -> Result<PeerConfig, ConfigError> {
    settings.into_config(surroundings())
}

/// What is to be said of variables of the environment that look like settings and are none.
pub(super) fn unknown_variables() -> Vec<String> {
    settings::unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}
