//! The connections to backends that are open, by which a request is known that comes back
//! to the peer that sent it out.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};

use crate::lock::Lock;
use crate::names::Name;

/// Stands for both ends of a connection and the name that it was dialled for, a hash of
/// them, for idle connections are many. A request that comes in on such a connection for
/// the same name would go round for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Route(u64);

impl Route {
    fn new(local: SocketAddr, remote: SocketAddr, name: &Name) -> Self {
        let canonical = |addr: SocketAddr| (addr.ip().to_canonical(), addr.port());
        let mut hasher = DefaultHasher::new();
        (canonical(local), canonical(remote), name).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// All that are open now.
#[derive(Debug, Clone)]
pub struct Outgoing(Arc<Lock<BTreeMap<Route, u32>>>);

impl Default for Outgoing {
    fn default() -> Self {
        Self(Arc::new(Lock::new("the table of outgoing connections", BTreeMap::new())))
    }
}

/// One of them, until dropped.
#[derive(Debug)]
pub struct Registered {
    outgoing: Outgoing,
    route: Route,
}

impl Outgoing {
    /// A connection from `local` to `remote` carries a request for `name`.
    pub fn register(&self, local: SocketAddr, remote: SocketAddr, name: &Name) -> Registered {
        let route = Route::new(local, remote, name);
        *self.lock().entry(route).or_default() += 1;
        Registered { outgoing: self.clone(), route }
    }

    /// Whether a request for `name` that came from `source` to `dest` left this very
    /// process on that connection.
    pub fn is_loop(&self, source: SocketAddr, dest: SocketAddr, name: &Name) -> bool {
        let outgoing = self.lock();
        !outgoing.is_empty() && outgoing.contains_key(&Route::new(source, dest, name))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Route, u32>> {
        self.0.lock()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.lock();
        if let Some(count) = outgoing.get_mut(&self.route) {
            *count -= 1;
            if *count == 0 {
                outgoing.remove(&self.route);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_connection_for_the_same_name_is_a_loop() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let name = |text: &str| text.parse::<Name>().unwrap();
        let outgoing = Outgoing::default();
        let (local, remote) = (addr("10.0.0.1:5000"), addr("10.0.0.2:80"));
        let held = outgoing.register(local, remote, &name("app"));
        let mapped = addr("[::ffff:10.0.0.1]:5000");
        assert!(outgoing.is_loop(local, remote, &name("app")));
        assert!(outgoing.is_loop(mapped, remote, &name("app")));
        assert!(!outgoing.is_loop(local, remote, &name("other")), "a chain of two tunnels");
        assert!(!outgoing.is_loop(local, addr("10.0.0.2:81"), &name("app")), "a port used again");
        drop(held);
        assert!(!outgoing.is_loop(local, remote, &name("app")));
    }
}
