//! The end of a run: all faults are healed, and the mesh must be whole again.

use std::time::Duration;

use super::memo::Memo;
use super::player::Player;
use super::stage::Stage;
use crate::checks::{answers_within, is_quiet, names_to_come};
use crate::mesh::Mesh;
use crate::scenario::steps::Request;

/// After everything was healed, every name must be up within this time: a full
/// backoff, a dial, and a registration, with a second try.
pub(crate) const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// Every name must then stay up for this time: that a link is going, for something
/// that was done just before, is news that may still be on its way.
const STEADY_FOR: Duration = Duration::from_secs(1);

impl Player {
    /// All faults end, and every name must come up and be served again.
    pub(super) fn heal(&mut self, stage: &mut Stage) -> Result<(), String> {
        stage.mesh.heal_all();
        let (mut up_since, mut is_up) = (None, Memo::default());
        stage.until(HEALED_WITHIN, "every name up after all was healed", |stage| {
            let whole = !stage.mesh.fabric().state().ledger.has_severed()
                && is_up.at(stage.mesh.polls_of_all(), || all_up(stage));
            up_since = up_since.filter(|_| whole).or(whole.then(|| stage.mesh.now()));
            up_since.is_some_and(|since| stage.mesh.now() - since >= STEADY_FOR)
        })?;
        let before = stage.mesh.outcomes().all().len();
        self.probes = probes(&stage.mesh);
        for probe in &self.probes {
            stage.mesh.request_later(Duration::ZERO, probe.clone());
        }
        let within = self.scenario.network.quiet_within.0;
        let mut quiet = Memo::default();
        stage.until(within, "every name served after all was healed", |stage| {
            stage.mesh.all_asked() && quiet.at(stage.mesh.polls_of_all(), || is_quiet(&stage.mesh))
        })?;
        let probes = stage.mesh.outcomes().all();
        match probes[before..].iter().find(|probe| !probe.is_whole()) {
            Some(probe) => Err(format!("not served after all was healed: {probe}")),
            None => Ok(()),
        }
    }
}

/// One request for every name at every listening peer that waits long enough for a sound one, and
/// whose backends can all answer.
fn probes(mesh: &Mesh) -> Vec<Request> {
    let (scenario, mut probes) = (mesh.scenario(), Vec::new());
    let Some(client) = scenario.clients.first() else { return probes };
    for (host, peer) in &scenario.peers {
        let Some(port) = peer.listen else { continue };
        if peer.timing().data_timeout < answers_within(scenario) {
            continue;
        }
        for name in names_to_come(mesh, host).into_iter().filter(|name| !name.contains('*')) {
            if let Some(via) = mesh.answers_by(&name) {
                probes.push(Request::probe(client, &format!("{host}:{port}"), &name, via));
            }
        }
    }
    probes
}

fn all_up(stage: &Stage) -> bool {
    let mesh = &stage.mesh;
    mesh.scenario().peers.iter().filter(|(_, peer)| peer.listen.is_some()).all(|(host, _)| {
        let Some(handle) = mesh.peer(host) else { return false };
        let snapshot = handle.snapshot();
        names_to_come(mesh, host).iter().all(|name| {
            let row = snapshot.names.iter().find(|row| row.name == *name);
            row.is_some_and(|row| !row.providers.is_empty())
        })
    })
}

impl Mesh {
    /// Ends all holds and cuts, starts what does not run or stands still, and sets the clocks.
    fn heal_all(&mut self) {
        let hosts: Vec<String> = self.scenario().hosts().map(str::to_owned).collect();
        for (index, a) in hosts.iter().enumerate() {
            for b in &hosts[index + 1..] {
                // Exactly one of the two fits a way that is not open.
                let _ = self.release(a, b).or_else(|_| self.heal(a, b));
            }
        }
        for host in hosts {
            // It may not be frozen.
            let _ = self.thaw(&host);
            if !self.is_running(&host) {
                self.restart(&host);
            }
            if self.hosts_of(&host).is_empty() {
                self.set_name(&host, std::iter::once(host.as_str()));
            }
        }
        self.reset_latencies();
        self.set_names_and_clocks_right();
        self.do_to_it();
    }
}
