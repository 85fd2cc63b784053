//! What must hold after every tick.

use std::collections::BTreeMap;

use ops_proxy::observe::metrics::Snapshot;

use super::counts::{check_growth, check_served, check_sums};
use super::model::Model;
use super::overheard::{check_asked_again, check_asked_once, check_overheard};
use super::seen::{Seen, counts_everything};
use crate::mesh::Mesh;

/// Checks one run.
#[derive(Debug, Default)]
pub struct Invariants {
    model: Model,
    /// The numbers of each peer after the last tick, and which start they are of.
    before: BTreeMap<String, (u64, Snapshot)>,
}

impl Invariants {
    /// Checks all peers as they are after a tick.
    ///
    /// # Errors
    /// The first thing that must not be so.
    pub fn check(&mut self, mesh: &Mesh) -> Result<(), String> {
        self.model.observe(mesh);
        let seen = Seen::by_clients(mesh);
        for host in mesh.scenario().peers.keys() {
            let Some(handle) = mesh.peer(host) else {
                self.forget(mesh, host);
                continue;
            };
            let now = handle.snapshot();
            let at = |error: String| format!("at {host}: {error}");
            // What is passed on was read by the peer before.
            let peers = &mesh.scenario().peers;
            // What other peers ask for, or have passed on, is read by them.
            let reads_http =
                peers[host].transit.is_empty() && peers.values().all(|one| one.reach.is_empty());
            check_sums(&now, reads_http).map_err(at)?;
            let (of_services, in_all) = handle.served();
            check_served(of_services, in_all, !peers[host].transit.is_empty()).map_err(at)?;
            let start = mesh.starts(host);
            if self.before.get(host).is_some_and(|(before, _)| *before != start) {
                self.forget(mesh, host);
            }
            if let Some((_, before)) = self.before.get(host) {
                check_growth(before, &now).map_err(at)?;
                self.model.check_change(mesh, host, before, &now)?;
                if before.names.len() > now.names.len() {
                    let known = |name: &str| now.names.iter().any(|row| row.name == name);
                    mesh.fabric().state().forwards.forget(mesh.ip(host), known);
                }
            }
            check_overheard(mesh, host, &now).map_err(at)?;
            if counts_everything(mesh, host) {
                let passed_on = match reads_http {
                    true => 0,
                    false => mesh.fabric().state().forwards.asked_of(mesh.ip(host)),
                };
                seen.check(host, &now, passed_on).map_err(at)?;
            }
            if mesh.is_running(host) {
                self.model.check(mesh, host, &now)?;
            }
            self.before.insert(host.clone(), (start, now));
        }
        check_asked_once(mesh)?;
        check_asked_again(mesh)?;
        let wrongs = std::mem::take(&mut mesh.fabric().state().wrongs);
        wrongs.into_iter().next().map_or(Ok(()), Err)
    }

    /// The peer on this host is another now, or none.
    fn forget(&mut self, mesh: &Mesh, host: &str) {
        if self.before.remove(host).is_some() {
            mesh.fabric().state().forwards.forget(mesh.ip(host), |_| false);
        }
    }
}
