//! What names resolve to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where each host finds its server of DNS: an address of its own loopback, so that no cut
/// between hosts reaches it, as in the simulation.
pub(super) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);

/// What names resolve to now, for all hosts of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug, Clone, Default)]
struct Entry {
    ips: Vec<Ipv4Addr>,
    takes: Duration,
}

impl Names {
    /// From now on, `name` has these addresses, and a lookup takes this long.
    pub(super) fn set(&self, name: &str, ips: Vec<Ipv4Addr>, takes: Duration) {
        let mut names = self.0.lock().expect("nobody panics while holding this");
        names.insert(name.to_owned(), Entry { ips, takes });
    }

    /// A host that has no address has this one again, and no lookup takes time.
    pub(super) fn heal(&self, host: &str, ip: Ipv4Addr) {
        let mut names = self.0.lock().expect("nobody panics while holding this");
        names.values_mut().for_each(|entry| entry.takes = Duration::ZERO);
        let entry = names.entry(host.to_owned()).or_default();
        if entry.ips.is_empty() {
            entry.ips.push(ip);
        }
    }

    /// The addresses of `name`.
    pub(super) fn of(&self, name: &str) -> Vec<Ipv4Addr> {
        self.entry(name).unwrap_or_default().ips
    }

    /// How long a lookup of `name` takes.
    pub(super) fn lookup_time(&self, name: &str) -> Duration {
        self.entry(name).unwrap_or_default().takes
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.0.lock().expect("nobody panics while holding this").get(name).cloned()
    }
}
