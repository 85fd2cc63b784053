//! The place of a peer.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use ops_proxy::config::PeerConfig;
use ops_proxy::peer::PeerHandle;
use tokio::sync::Notify;

use super::access::Told;
use crate::network::SimNet;

/// What is known of one peer's host.
#[derive(Default)]
pub(super) struct Slot {
    /// The peer that runs, or that has ended by itself.
    pub(super) handle: RefCell<Option<PeerHandle<SimNet>>>,
    /// What the access log of the last one that was started has told.
    pub(super) told: RefCell<Arc<Told>>,
    /// How often it was started.
    pub(super) starts: Cell<u64>,
    /// What it is started with, and runs with.
    pub(super) config: RefCell<Option<PeerConfig>>,
    /// That has changed.
    pub(super) configured: Notify,
    /// How often a peer that runs has taken in a change.
    pub(super) configurations: Cell<u64>,
    /// The peer was told to end.
    pub(super) leaving: Cell<bool>,
}

impl Slot {
    /// What it is started with.
    ///
    /// # Panics
    /// Before it was given any.
    pub(super) fn config(&self) -> PeerConfig {
        self.config.borrow().clone().expect("every peer has a configuration")
    }

    /// Has the peer that runs take in each change of its configuration.
    pub(super) async fn reconfigure(&self, handle: &PeerHandle<SimNet>) -> turmoil::Result {
        loop {
            self.configured.notified().await;
            handle.reconfigure(self.config()).await?;
            self.configurations.set(self.configurations.get() + 1);
        }
    }
}
