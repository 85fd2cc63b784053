//! A mesh and those who watch it.

use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::sample::Sample;
use crate::checks::{Invariants, Verdict};
use crate::client::Outcome;
use crate::mesh::Mesh;

/// Time between two samples of a recorded run.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// One run's mesh and its watchers.
pub(super) struct Stage {
    pub(super) mesh: Mesh,
    invariants: Invariants,
    /// Effects that were not seen yet, each with its step.
    pub(super) effects: Vec<(String, String, Watch)>,
    log: Arc<Log>,
    /// Metrics over time, if this run is recorded.
    pub(super) samples: Option<Vec<Sample>>,
}

/// Asked after every tick until it says yes.
type Watch = Box<dyn FnMut(&Mesh) -> bool>;

impl Stage {
    /// Before the first tick; `record` keeps samples.
    pub(super) fn new(mesh: Mesh, log: Arc<Log>, record: bool) -> Self {
        let (invariants, effects) = (Invariants::default(), Vec::new());
        Self { mesh, invariants, effects, log, samples: record.then(Vec::new) }
    }

    /// Lets one tick pass, and looks at what it has left.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        self.mesh.step()?;
        let mesh = &self.mesh;
        self.effects.retain_mut(|(_, _, seen)| !seen(mesh));
        self.sample();
        self.invariants.check(&self.mesh)?;
        self.log.take_errors().into_iter().next().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// How far it is known what became of a request.
    ///
    /// # Errors
    /// What its client saw, if it must not have.
    pub(super) fn judge(&self, outcome: &Outcome) -> Result<Verdict, String> {
        self.invariants.judge(&self.mesh, outcome)
    }

    fn sample(&mut self) {
        let now = self.mesh.now();
        let Some(samples) = &mut self.samples else { return };
        if samples.last().is_some_and(|last| now < last.at + SAMPLE_EVERY) {
            return;
        }
        let listening = self.mesh.scenario().peers.iter().filter(|(_, peer)| peer.listen.is_some());
        for (host, _) in listening {
            if let Some(handle) = self.mesh.peer(host) {
                samples.push(Sample::take(now, host, &handle.snapshot()));
            }
        }
    }

    /// Ticks until `done`, for at most `within`.
    pub(super) fn until(
        &mut self,
        within: Duration,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        let began = self.mesh.now();
        while !done(self) {
            if self.mesh.now() - began > within {
                let open = self.mesh.fabric().state().open_besides_links();
                let within = humantime::format_duration(within);
                let busy = busy(&self.mesh);
                return Err(format!("not within {within}: {what}; open: {open:?}, busy: {busy:?}"));
            }
            self.tick()?;
        }
        Ok(())
    }
}

/// Names for which something is going on, each with its peer, for a message.
fn busy(mesh: &Mesh) -> Vec<String> {
    let mut busy = Vec::new();
    for host in mesh.scenario().peers.keys() {
        let Some(peer) = mesh.peer(host) else { continue };
        for row in peer.snapshot().names {
            let (active, pending) = (row.counts.active, row.pending);
            if active + pending > 0 {
                busy.push(format!("{} at {host}: {active} active, {pending} pending", row.name));
            }
        }
    }
    busy
}
