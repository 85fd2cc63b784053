//! The place of a peer.

use std::cell::{Cell, RefCell};

use ops_proxy::peer::PeerHandle;

use crate::network::SimNet;

/// What is known of one peer's host.
#[derive(Default)]
pub(super) struct Slot {
    /// The peer that runs, or that has ended by itself.
    pub(super) handle: RefCell<Option<PeerHandle<SimNet>>>,
    /// How often it was started.
    pub(super) starts: Cell<u64>,
    /// The peer was told to end.
    pub(super) leaving: Cell<bool>,
}
