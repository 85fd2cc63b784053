//! The TLS of one peer, from files that are read again when they change.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::load::{Contents, Loaded};
use super::modes::{check_writers, exposed};
use crate::config::{ConfigError, PeerConfig, TlsConfig};
use crate::limits::NAMES_LOGGED;
use crate::lock::Lock;
use crate::observe::metrics::Metrics;
use crate::stream::net::Net;

/// The TLS of one peer. Shows nothing of what its files hold.
pub struct Tls {
    config: TlsConfig,
    current: Lock<Arc<Loaded>>,
    /// What was read last, good or bad, so that each change is tried and counted
    /// once.
    seen: Lock<Result<Contents, ConfigError>>,
    /// Says so after each look at the files, whether they changed or not.
    looked: watch::Sender<()>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads all files for the first time.
    ///
    /// # Errors
    /// The key of the first file that is missing or invalid.
    pub fn open<N: Net>(
        net: &N,
        config: &PeerConfig,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let (contents, loaded) = load(net, config)?;
        let warnings = warnings(net, &config.tls, &loaded);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        if let Err(error) = loaded.check_services(config, NAMES_LOGGED) {
            tracing::warn!("{error}");
        }
        let config = config.tls.clone();
        count_expiries(metrics, &loaded);
        Ok(Self {
            config,
            current: Lock::new("what the TLS files gave", Arc::new(loaded)),
            seen: Lock::new("what was read of the TLS files", Ok(contents)),
            looked: watch::Sender::new(()),
        })
    }

    /// What is loaded now.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.lock().clone()
    }

    /// Tells of each look at the files. What was let in by what was loaded before, or
    /// some time ago, is then to be asked again.
    pub fn looks(&self) -> watch::Receiver<()> {
        self.looked.subscribe()
    }

    /// Reads the files again, and loads them if they changed.
    pub fn reload<N: Net>(&self, net: &N, metrics: &Metrics) {
        self.load_changes(net, metrics);
        self.looked.send_replace(());
    }

    fn load_changes<N: Net>(&self, net: &N, metrics: &Metrics) {
        let read = read_all(net, &self.config);
        if read == *self.seen.lock() {
            return;
        }
        // Before anything is made of it, and not locked meanwhile: what makes a parser
        // panic does so once, and the next look finds the lock as it should be.
        *self.seen.lock() = read.clone();
        // Half a rotation fails too; the next look may be better.
        match read.and_then(|contents| Loaded::build(net, &self.config, &contents)) {
            Ok(loaded) => {
                count_expiries(metrics, &loaded);
                let warnings = warnings(net, &self.config, &loaded);
                *self.current.lock() = Arc::new(loaded);
                metrics.tls_reloaded();
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!("TLS and token files reloaded");
            }
            Err(error) => {
                metrics.tls_reload_failed();
                tracing::warn!(%error, "cannot reload TLS and token files; keeping the old ones until they are fixed");
            }
        }
    }
}

fn count_expiries(metrics: &Metrics, loaded: &Loaded) {
    loaded.expiries().for_each(|(which, at)| metrics.tls_expiry(which, at));
    if let Some(at) = loaded.list_expiry() {
        metrics.tls_list_expiry(at);
    }
}

/// What an operator should look at, although it stops nothing.
pub fn warnings<N: Net>(net: &N, config: &TlsConfig, loaded: &Loaded) -> Vec<String> {
    let exposed = exposed(net, config);
    exposed.iter().map(ToString::to_string).chain(loaded.warnings.iter().cloned()).collect()
}

/// Whether the files that `config` names are there and of use, and its peer id is
/// that of its certificate.
///
/// # Errors
/// The key of the first file that is not, or `peer_id`.
pub fn check_files<N: Net>(net: &N, config: &PeerConfig) -> Result<Loaded, ConfigError> {
    load(net, config).map(|(_, loaded)| loaded)
}

fn load<N: Net>(net: &N, config: &PeerConfig) -> Result<(Contents, Loaded), ConfigError> {
    let contents = read_all(net, &config.tls)?;
    let loaded = Loaded::build(net, &config.tls, &contents)?;
    // With a token it is the token that says who a peer is.
    if config.is_connecting() && config.tls.token.is_none() {
        loaded.check_peer_id(&config.peer_id)?;
    }
    Ok((contents, loaded))
}

fn read_all<N: Net>(net: &N, config: &TlsConfig) -> Result<Contents, ConfigError> {
    config
        .files()
        .map(|(key, path)| {
            check_writers(net, key, path)?;
            let contents = net.read_file(path);
            let failed = |error| ConfigError::new(key, format!("{}: {error}", path.display()));
            Ok((key, contents.map_err(failed)?))
        })
        .collect()
}
