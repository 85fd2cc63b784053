//! Which listening peers can be asked now, and which requests they are being asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::Endpoint;
use crate::lock::Lock;
use crate::names::{PeerId, ProxyId};

/// Which of the peers behind an endpoint is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// The one at an address that the host resolves to.
    Address(IpAddr),
    /// The n-th of several behind the endpoint.
    Behind(usize),
}

/// A listening peer that this one is registered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// What was configured.
    pub upstream: Endpoint,
    /// Which of the peers there.
    pub to: To,
    /// Who answered.
    pub peer: Option<PeerId>,
}

/// The listening peers that this one is registered with. One table for a peer.
#[derive(Debug)]
pub struct Hubs(Lock<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Those with a link, whoever was asked last at the end.
    open: Vec<Hub>,
    asked: BTreeSet<ProxyId>,
}

/// Keeps a request known as one that a listening peer is being asked for.
#[derive(Debug)]
pub struct Asking<'a> {
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
    pub fn opened(&self, hub: Hub) {
        self.0.lock().open.push(hub);
    }

    /// The link to it has ended; whether it could be asked until now.
    pub fn closed(&self, hub: &Hub) -> bool {
        let open = &mut self.0.lock().open;
        let before = open.len();
        open.retain(|one| one != hub);
        open.len() < before
    }

    /// Whether one is being asked for this very request: if it comes back here, it goes round
    /// in a loop.
    pub fn is_asking(&self, id: ProxyId) -> bool {
        self.0.lock().asked.contains(&id)
    }

    /// Those that can be asked, whose turn it is in front.
    pub fn in_turn(&self) -> Vec<Hub> {
        let open = &mut self.0.lock().open;
        let in_turn = open.clone();
        if !open.is_empty() {
            open.rotate_left(1);
        }
        in_turn
    }

    /// Asks for a request, until the guard is dropped; `None` when that is being done
    /// already.
    pub fn ask(&self, id: ProxyId) -> Option<Asking<'_>> {
        let is_new = self.0.lock().asked.insert(id);
        is_new.then(|| Asking { hubs: self, id })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.hubs.0.lock().asked.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(n: usize) -> Hub {
        Hub { upstream: "hub:1".parse().unwrap(), to: To::Behind(n), peer: None }
    }

    #[test]
    fn they_are_asked_in_turn_as_long_as_they_are_there() {
        let hubs = Hubs::default();
        assert!(hubs.in_turn().is_empty());
        (0..3).for_each(|n| hubs.opened(hub(n)));
        assert_eq!(hubs.in_turn(), [hub(0), hub(1), hub(2)]);
        assert_eq!(hubs.in_turn(), [hub(1), hub(2), hub(0)]);
        assert!(hubs.closed(&hub(2)) && !hubs.closed(&hub(2)));
        assert_eq!(hubs.in_turn(), [hub(0), hub(1)]);
    }

    #[test]
    fn a_request_is_asked_for_once_at_a_time() {
        let hubs = Hubs::default();
        let id = ProxyId::from_random([1; 16]);
        let asking = hubs.ask(id);
        assert!(asking.is_some() && hubs.ask(id).is_none() && hubs.is_asking(id));
        drop(asking);
        assert!(!hubs.is_asking(id) && hubs.ask(id).is_some());
    }
}
