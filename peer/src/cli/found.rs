//! Services that come from elsewhere than the settings. What a build without Kubernetes lacks is
//! left out here, and nowhere else.

#[cfg(not(feature = "kubernetes"))]
use std::future::pending;

#[cfg(feature = "kubernetes")]
use super::kubernetes::Services;
use crate::config::{ConfigError, PeerConfig};
use crate::peer::PeerHandle;
use crate::stream::net::tokio::TokioNet;

/// The services that come from elsewhere.
pub(super) struct Found {
    #[cfg(feature = "kubernetes")]
    kubernetes: Option<Services>,
}

#[cfg(feature = "kubernetes")]
impl Found {
    /// Begins to look where `config` says.
    ///
    /// # Errors
    /// It cannot be looked there.
    pub(super) fn follow(
        config: &PeerConfig,
        handle: &PeerHandle<TokioNet>,
    ) -> Result<Self, ConfigError> {
        let is_used = !config.kubernetes.is_empty();
        let kubernetes = is_used.then(|| Services::follow(&config.kubernetes, handle));
        Ok(Self { kubernetes: kubernetes.transpose()? })
    }

    /// Returns once it is known what there is, or that has taken too long. Whether there can be
    /// anything.
    pub(super) async fn first(&mut self) -> bool {
        match &mut self.kubernetes {
            Some(services) => {
                services.first().await;
                true
            }
            None => false,
        }
    }

    /// Returns when there may be something else. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.kubernetes {
            Some(services) => services.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Adds what there is to `config`. Whether it is something else than before.
    pub(super) fn add_to(&mut self, config: &mut PeerConfig) -> bool {
        self.kubernetes.as_mut().is_some_and(|services| services.add_to(config))
    }
}

#[cfg(not(feature = "kubernetes"))]
impl Found {
    pub(super) fn follow(
        _config: &PeerConfig,
        _handle: &PeerHandle<TokioNet>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    pub(super) async fn first(&mut self) -> bool {
        false
    }

    pub(super) async fn changed(&mut self) {
        pending().await
    }

    pub(super) fn add_to(&mut self, _config: &mut PeerConfig) -> bool {
        false
    }
}
