//! What the tasks of one peer share.

use std::sync::Arc;

use crate::config::PeerConfig;
use crate::mesh::Mesh;
use crate::metrics::Metrics;
use crate::names::ProxyId;
use crate::net::Net;
use crate::tasks::{Phase, Tasks};

/// One peer, as its tasks see it.
pub struct Shared<N: Net> {
    /// The network.
    pub net: N,
    /// What it was told to do.
    pub config: PeerConfig,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who serves what, and who waits.
    pub mesh: Mesh<N::Stream>,
    /// Its tasks and its phase.
    pub tasks: Tasks,
}

impl<N: Net> Shared<N> {
    /// A peer that runs nothing yet.
    pub fn new(config: PeerConfig, net: N) -> Self {
        let metrics = Arc::new(Metrics::new(&config));
        Self {
            mesh: Mesh::new(metrics.clone(), config.services.keys().cloned()),
            tasks: Tasks::new(metrics.clone()),
            metrics,
            config,
            net,
        }
    }

    /// Whether traffic may be sent here: not draining, and listening or
    /// registered with a listening peer.
    pub fn is_ready(&self) -> bool {
        let registered = || self.config.connect.iter().any(|one| self.metrics.is_link_up(one));
        self.tasks.phase() == Phase::Serving && (self.config.is_listening() || registered())
    }

    /// A proxy id that was never used.
    pub fn proxy_id(&self) -> ProxyId {
        let mut bytes = [0; 16];
        self.net.fill_random(&mut bytes);
        ProxyId::from_random(bytes)
    }

    /// A uniformly random number.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.net.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
