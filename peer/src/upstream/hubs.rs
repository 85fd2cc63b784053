//! Which listening peers can be asked now, and which requests they are being asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::target::Target;
use crate::lock::Lock;
use crate::names::ProxyId;

/// The listening peers that this one is registered with. One table for a peer.
#[derive(Debug)]
pub struct Hubs(Lock<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Those with a link, whoever was asked last at the end.
    open: Vec<Arc<Target>>,
    asked: BTreeSet<ProxyId>,
}

/// Keeps a request known as one that a listening peer is being asked for.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    hubs: &'a Hubs,
    id: ProxyId,
}

impl Default for Hubs {
    fn default() -> Self {
        Self(Lock::new("the table of listening peers", Table::default()))
    }
}

impl Hubs {
    /// The names of this peer are registered there.
    pub fn opened(&self, target: Arc<Target>) {
        self.0.lock().open.push(target);
    }

    /// A link to it has ended; whether it could be asked until now.
    pub fn closed(&self, target: &Arc<Target>) -> bool {
        let open = &mut self.0.lock().open;
        let before = open.len();
        open.retain(|one| !Arc::ptr_eq(one, target));
        open.len() < before
    }

    /// Whether one is being asked for this very request: if it comes back here, it goes round
    /// in a loop.
    pub fn is_asking(&self, id: ProxyId) -> bool {
        self.0.lock().asked.contains(&id)
    }

    /// Those that can be asked, whose turn it is in front.
    pub(super) fn in_turn(&self) -> Vec<Arc<Target>> {
        let open = &mut self.0.lock().open;
        let in_turn = open.clone();
        if !open.is_empty() {
            open.rotate_left(1);
        }
        in_turn
    }

    /// Asks for a request; `None` when that is being done already.
    pub(super) fn ask(&self, id: ProxyId) -> Option<Asking<'_>> {
        self.0.lock().asked.insert(id).then_some(Asking { hubs: self, id })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.hubs.0.lock().asked.remove(&self.id);
    }
}
