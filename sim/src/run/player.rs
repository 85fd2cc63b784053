//! The run from its first step to the last closed connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::memo::Memo;
use super::reached::Reached;
use super::sample::Sample;
use super::stage::Stage;
use crate::actions::{Effect, action};
use crate::checks::{Verdict, check_access, check_bytes, check_outcome, is_quiet};
use crate::client::{Heard, Outcome, Say};
use crate::mesh::{Kept, Mesh};
use crate::network::Fabric;
use crate::scenario::Scenario;
use crate::scenario::steps::{Close, How, Request};
use crate::trace::What;

/// After all peers have ended, every connection must be closed within this time.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// What the last steps do must show within this time.
const EFFECTS_WITHIN: Duration = Duration::from_secs(5);

/// Plays one scenario, and keeps what there is to tell.
pub(super) struct Player {
    pub(super) scenario: Rc<Scenario>,
    fabric: Fabric,
    log: Arc<Log>,
    seed: u64,
    pub(super) lasted: Duration,
    pub(super) quiet_after: Option<Duration>,
    pub(super) kept: Vec<Kept>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) raws: Vec<(String, Heard)>,
    pub(super) samples: Vec<Sample>,
    pub(super) probes: Vec<Request>,
    pub(super) reached: Reached,
    record: bool,
}

impl Player {
    /// Before the first tick.
    pub(super) fn new(
        scenario: Rc<Scenario>,
        seed: u64,
        fabric: Fabric,
        log: Arc<Log>,
        record: bool,
    ) -> Self {
        Self {
            scenario,
            fabric,
            log,
            seed,
            lasted: Duration::ZERO,
            quiet_after: None,
            kept: Vec::new(),
            outcomes: Vec::new(),
            raws: Vec::new(),
            samples: Vec::new(),
            probes: Vec::new(),
            reached: Reached::default(),
            record,
        }
    }

    /// Plays it.
    ///
    /// # Errors
    /// The first thing that must not have happened, and when.
    pub(super) fn play(&mut self) -> Result<(), String> {
        let mesh = Mesh::new(self.scenario.clone(), self.seed, self.fabric.clone());
        let mut stage = Stage::new(mesh, self.log.clone(), self.record);
        let result = self.perform(&mut stage);
        self.samples = stage.samples.take().unwrap_or_default();
        self.lasted = stage.mesh.now();
        if self.kept.is_empty() {
            self.keep(&stage);
        }
        let at = humantime::format_duration(self.lasted);
        result.map_err(|error| format!("at {at}: {error}"))
    }

    fn keep(&mut self, stage: &Stage) {
        self.kept = stage.mesh.kept().to_vec();
        self.outcomes = stage.mesh.outcomes().all();
        self.raws = stage.mesh.raws();
    }

    fn perform(&mut self, stage: &mut Stage) -> Result<(), String> {
        self.timeline(stage)?;
        let quiet_within = self.scenario.network.quiet_within.0;
        let began = stage.mesh.now();
        let mut quiet = Memo::default();
        stage.until(quiet_within, "all requests over and all gauges 0", |stage| {
            let effects_may_come =
                !stage.effects.is_empty() && stage.mesh.now() - began < EFFECTS_WITHIN;
            let is_quiet = quiet.at(stage.mesh.polls_of_all(), || is_quiet(&stage.mesh));
            stage.mesh.all_asked() && is_quiet && !effects_may_come
        })?;
        self.quiet_after = Some(stage.mesh.now());
        stage.mesh.keep_metrics("end");
        self.keep(stage);
        self.reached.outcomes(&self.outcomes);
        self.reached.metrics(&stage.mesh);
        self.reached.bulk(&self.fabric.state());
        self.check_outcomes(stage)?;
        check_bytes(&stage.mesh, &self.outcomes)?;
        check_access(&stage.mesh)?;
        for (kind, step, _) in &stage.effects {
            if self.scenario.faults_must_bite {
                return Err(format!("without effect: {step}"));
            }
            self.reached.add("toothless step", kind);
        }
        self.close_raws(stage)?;
        if self.scenario.network.heals {
            self.heal(stage)?;
        }
        self.end(stage)
    }

    /// The steps, each when its time has come and the one before it is done.
    fn timeline(&mut self, stage: &mut Stage) -> Result<(), String> {
        let scenario = self.scenario.clone();
        let mut began = Duration::ZERO;
        for (number, step) in (1..).zip(scenario.steps()) {
            let due = match (step.at, step.after) {
                (Some(at), _) => at.0,
                (None, Some(after)) => began + after.0,
                (None, None) => began,
            };
            while stage.mesh.now() < due {
                stage.tick()?;
            }
            began = stage.mesh.now();
            let (kind, said) = (step.kind().key(), step.kind().title());
            let action = action(step.kind());
            let title = format!("step {number}, {said}");
            self.fabric.state().note(What::Step { number, title: said });
            self.reached.add("step", kind);
            let begun = action.begin(&mut stage.mesh);
            stage.mesh.do_to_it();
            match begun {
                Ok(Effect::Had) => {}
                Ok(Effect::Watch(seen)) => {
                    stage.effects.push((kind.to_owned(), title.clone(), seen))
                }
                Err(_) if !scenario.faults_must_bite => self.reached.add("impossible step", kind),
                Err(error) => return Err(format!("{title}: {error}")),
            }
            let done = |stage: &Stage| {
                let waited = stage.mesh.now() - began;
                action.done(&stage.mesh, waited).map_err(|error| format!("{title}: {error}"))
            };
            while !done(stage)? {
                stage.tick()?;
            }
        }
        Ok(())
    }

    fn check_outcomes(&mut self, stage: &Stage) -> Result<(), String> {
        let crashes = self.scenario.steps().filter_map(|step| step.crash.as_ref());
        let truncating = crashes.into_iter().any(|crash| crash.how == How::End);
        for outcome in &self.outcomes {
            check_outcome(outcome, truncating)?;
            match stage.judge(outcome)? {
                Verdict::Certain => self.reached.add("verdict", "certain"),
                Verdict::Open(why) => self.reached.add("verdict", &format!("open: {why}")),
            }
            if let Some(wanted) = &outcome.request.expect
                && *wanted != outcome.ended_as()
            {
                return Err(format!("expected {wanted}: {outcome}"));
            }
        }
        Ok(())
    }

    /// Raw connections go, and then nothing may be open but links.
    fn close_raws(&self, stage: &mut Stage) -> Result<(), String> {
        for (conn, heard) in stage.mesh.raws() {
            if heard.ended.is_none() {
                let close = Say::Close(Close::End);
                stage.mesh.say_raw(&conn, close)?;
            }
        }
        let within = self.scenario.network.quiet_within.0;
        stage.until(within, "every connection but links and idle ones closed", |stage| {
            let idle = idle_data(&stage.mesh);
            let state = stage.mesh.fabric().state();
            state.open_besides_links().is_empty() && state.idle_connections() == idle
        })
    }

    /// All peers stop, and every connection of the run must be closed.
    fn end(&self, stage: &mut Stage) -> Result<(), String> {
        let hosts: Vec<String> = self.scenario.peers.keys().cloned().collect();
        for host in hosts {
            // One that has crashed is not there to be stopped.
            let _ = stage.mesh.stop(&host);
        }
        stage.mesh.do_to_it();
        stage.until(CLOSED_WITHIN, "every connection closed after all peers ended", |stage| {
            stage.mesh.fabric().state().ledger.pairs().next().is_none()
        })
    }
}

/// DATA connections that wait for a request, as the listening peers count them.
fn idle_data(mesh: &Mesh) -> usize {
    let peers = mesh.scenario().peers.keys().filter_map(|host| mesh.peer(host));
    peers.map(|peer| peer.snapshot().idle_data as usize).sum()
}
