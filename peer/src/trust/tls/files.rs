//! The TLS of one peer, from files that are read again when they change.

use std::fmt;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{Notify, watch};

use super::load::{Contents, Loaded};
use crate::config::{ConfigError, PeerConfig, TlsConfig};
use crate::observe::metrics::Metrics;
use crate::stream::net::Net;

/// The TLS of one peer. Shows nothing of what its files hold.
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<Loaded>>,
    /// What was read last, good or bad, so that each change is tried and counted
    /// once.
    seen: Mutex<Result<Contents, ConfigError>>,
    reload: Notify,
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
    /// The key of the first file that is missing or of no use.
    pub fn open<N: Net>(
        net: &N,
        config: &PeerConfig,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let (contents, loaded) = load(net, config)?;
        let config = config.tls.clone();
        loaded.expiries().for_each(|(which, at)| metrics.tls_expiry(which, at));
        Ok(Self {
            config,
            current: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(Ok(contents)),
            reload: Notify::new(),
            looked: watch::Sender::new(()),
        })
    }

    /// What is loaded now.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.read().expect("replacing a pointer does not panic").clone()
    }

    /// Has the files looked at now rather than at the next interval.
    pub fn reload_now(&self) {
        self.reload.notify_one();
    }

    /// Returns when somebody asked for a look at the files.
    pub async fn reload_wanted(&self) {
        self.reload.notified().await;
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
        let mut seen = self.seen.lock().expect("comparing bytes does not panic");
        if read == *seen {
            return;
        }
        // Half a rotation fails too; the next look may be better.
        let built = read.as_ref().map_err(Clone::clone);
        match built.and_then(|contents| Loaded::build(net, &self.config, contents)) {
            Ok(loaded) => {
                loaded.expiries().for_each(|(which, at)| metrics.tls_expiry(which, at));
                *self.current.write().expect("replacing a pointer does not panic") =
                    Arc::new(loaded);
                metrics.tls_reloaded();
                tracing::info!("TLS and token files reloaded");
            }
            Err(error) => {
                metrics.tls_reload_failed();
                tracing::warn!(%error, "cannot reload TLS and token files; keeping the old ones until they are fixed");
            }
        }
        *seen = read;
    }
}

/// Whether the files that `config` names are there and of use, and its peer id is
/// that of its certificate.
///
/// # Errors
/// The key of the first file that is not, or `peer_id`.
pub fn check_files<N: Net>(net: &N, config: &PeerConfig) -> Result<(), ConfigError> {
    load(net, config).map(drop)
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
            let contents = net.read_file(path);
            let failed = |error| ConfigError::new(key, format!("{}: {error}", path.display()));
            Ok((key, contents.map_err(failed)?))
        })
        .collect()
}
