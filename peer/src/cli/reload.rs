//! Reads the configuration again when its files have changed, or when SIGHUP asks for it, and
//! adds to it the services that come from elsewhere.

use std::convert::Infallible;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::level_filters::LevelFilter;

use super::found::Found;
use super::settings::{Settings, Surroundings};
use super::sources::{Sources, Texts};
use super::supervisor;
use crate::config::{ConfigError, PeerConfig};
use crate::limits::CONFIG_RELOAD_INTERVAL;
use crate::observe::metrics::ConfigReloads;
use crate::peer::PeerHandle;
use crate::ports::NotBound;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// Follows the files of a running peer.
pub(super) struct Reloader<L> {
    /// Where its settings come from.
    pub(super) sources: Sources,
    /// What it was started in.
    pub(super) surroundings: Surroundings,
    /// What it was started with.
    pub(super) started: Settings,
    /// What the files said last.
    pub(super) texts: Result<Texts, ConfigError>,
    /// What the settings say that are in force.
    pub(super) config: PeerConfig,
    /// The services beside those.
    pub(super) found: Found,
    /// The peer.
    pub(super) handle: PeerHandle<TokioNet>,
    /// Sets the level of the log.
    pub(super) level: L,
}

/// A configuration that is not used.
#[derive(Debug, thiserror::Error)]
enum NotUsed {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Bind(#[from] NotBound),
}

impl<L: Fn(LevelFilter)> Reloader<L> {
    /// Looks at the files from time to time, and whenever that is `asked` for.
    pub(super) async fn run(mut self, asked: &Notify) -> Infallible {
        let reloads = self.handle.export_config_reloads();
        reloads.succeeded(now());
        let mut look_at = Instant::now() + CONFIG_RELOAD_INTERVAL;
        loop {
            tokio::select! {
                biased;
                () = asked.notified() => self.look(true, &reloads).await,
                () = sleep_until(look_at) => {
                    if self.sources.has_files() {
                        self.look(false, &reloads).await;
                    }
                    look_at = Instant::now() + CONFIG_RELOAD_INTERVAL;
                }
                () = self.found.changed() => self.serve_found().await,
            }
        }
    }

    /// Has the peer serve what comes from elsewhere, before it runs.
    pub(super) async fn first(&mut self) {
        if self.found.first().await {
            self.serve_found().await;
        }
    }

    /// Has the peer serve what has come from elsewhere.
    async fn serve_found(&mut self) {
        let mut config = self.config.clone();
        if !self.found.add_to(&mut config) {
            return;
        }
        // Nothing else is new: what takes a restart was said when it came.
        if let Err(error) = self.handle.reconfigure(config).await {
            tracing::warn!(%error, "the services that were found are not served until the next change");
        }
    }

    async fn look(&mut self, is_asked: bool, reloads: &ConfigReloads) {
        let texts = self.sources.read();
        if texts == self.texts && !is_asked {
            return;
        }
        self.texts = texts;
        supervisor::reloading();
        let changed = self.change().await;
        supervisor::ready();
        match changed {
            Ok(fixed) => {
                reloads.succeeded(now());
                tracing::info!("the configuration was read again");
                for key in fixed {
                    tracing::warn!(
                        key,
                        "this setting has changed, but takes effect only with a restart"
                    );
                }
            }
            Err(error) => {
                reloads.failed();
                tracing::warn!(%error, "the changed configuration is not used; the old one stays in force until this is fixed");
            }
        }
    }

    async fn change(&mut self) -> Result<Vec<&'static str>, NotUsed> {
        let settings = self.sources.merged_with(self.texts.as_ref().map_err(Clone::clone)?)?;
        let level = settings.log_level.unwrap_or(LevelFilter::INFO);
        let of_process = self.started.fixed_for_the_process(&settings);
        let config = settings.into_config(self.surroundings.clone())?;
        let mut all = config.clone();
        self.found.add_to(&mut all);
        let mut fixed = self.handle.reconfigure(all).await?;
        self.config = config;
        fixed.extend(of_process);
        (self.level)(level);
        Ok(fixed)
    }
}

fn now() -> i64 {
    i64::try_from(TokioNet.unix_time().as_secs()).unwrap_or(i64::MAX)
}
