//! Plays a scenario from its first step to the last closed connection.

mod heal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tracing::Dispatch;

use crate::client::Outcome;
use crate::client::raw::Heard;
use crate::fabric::Fabric;
use crate::invariants::{Invariants, check_bytes, check_outcome, is_quiet};
use crate::log::Log;
use crate::mesh::{Kept, Mesh};
use crate::reached::Reached;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::steps::{Effect, How};
use crate::trace::{Event, What};

/// After all peers have ended, every connection must be closed within this time.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// What the last steps do must show within this time.
const EFFECTS_WITHIN: Duration = Duration::from_secs(5);

/// Time between two samples of a recorded run.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instead of the scenario's own.
    pub seed: Option<u64>,
    /// Keep all events, for a trace or a report.
    pub record: bool,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Played {
    /// The seed it ran with.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// What must not have happened; a good run has none.
    pub failure: Option<String>,
    /// Simulated time in all.
    pub lasted: Duration,
    /// Metrics at the checkpoints, and under `end` when all was quiet.
    pub kept: Vec<Kept>,
    /// What each client saw, up to then.
    pub outcomes: Vec<Outcome>,
    /// What was heard on raw connections, up to then.
    pub raws: Vec<(String, Heard)>,
    /// What happened, if recorded.
    pub events: Vec<Event>,
    /// Some metrics over time, if recorded.
    pub samples: Vec<Sample>,
    /// How often each kind of state was reached.
    pub reached: Reached,
}

/// Plays a scenario that was [loaded](Scenario::load), and so checked.
pub fn run(scenario: &Scenario, options: &Options) -> Played {
    let seed = options.seed.unwrap_or(scenario.seed);
    let fabric = Fabric::new(options.record);
    let log = Arc::new(Log::new(fabric.clone(), options.record));
    let mut player = Player {
        scenario: Rc::new(scenario.clone()),
        fabric: fabric.clone(),
        log: log.clone(),
        seed,
        lasted: Duration::ZERO,
        kept: Vec::new(),
        outcomes: Vec::new(),
        raws: Vec::new(),
        samples: Vec::new(),
        reached: Reached::default(),
        record: options.record,
    };
    let played = tracing::dispatcher::with_default(&Dispatch::new(log), || {
        catch_unwind(AssertUnwindSafe(|| player.play()))
    });
    let failure = match played {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    };
    let mut state = fabric.state();
    Played {
        seed,
        hash: state.trace.hash(),
        failure,
        lasted: player.lasted,
        kept: player.kept,
        outcomes: player.outcomes,
        raws: player.raws,
        events: state.trace.take_events(),
        samples: player.samples,
        reached: player.reached,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

struct Player {
    scenario: Rc<Scenario>,
    fabric: Fabric,
    log: Arc<Log>,
    seed: u64,
    lasted: Duration,
    kept: Vec<Kept>,
    outcomes: Vec<Outcome>,
    raws: Vec<(String, Heard)>,
    samples: Vec<Sample>,
    reached: Reached,
    record: bool,
}

/// One run's mesh and its watchers.
struct Stage {
    mesh: Mesh,
    invariants: Invariants,
    /// Effects that were not seen yet, each with its step.
    effects: Vec<(String, String, Watch)>,
    log: Arc<Log>,
    /// Metrics over time, if this run is recorded.
    samples: Option<Vec<Sample>>,
}

type Watch = Box<dyn FnMut(&Mesh) -> bool>;

impl Stage {
    fn tick(&mut self) -> Result<(), String> {
        self.mesh.step()?;
        let mesh = &self.mesh;
        self.effects.retain_mut(|(_, _, seen)| !seen(mesh));
        self.sample();
        self.invariants.check(&self.mesh)?;
        self.log.take_errors().into_iter().next().map_or(Ok(()), |error| Err(error.clone()))
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
    fn until(
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

impl Player {
    fn play(&mut self) -> Result<(), String> {
        let mesh = Mesh::new(self.scenario.clone(), self.seed, self.fabric.clone());
        let (invariants, log) = (Invariants::default(), self.log.clone());
        let samples = self.record.then(Vec::new);
        let mut stage = Stage { mesh, invariants, effects: Vec::new(), log, samples };
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
        stage.until(quiet_within, "all requests over and all gauges 0", |stage| {
            let effects_may_come =
                !stage.effects.is_empty() && stage.mesh.now() - began < EFFECTS_WITHIN;
            stage.mesh.all_asked() && is_quiet(&stage.mesh) && !effects_may_come
        })?;
        stage.mesh.keep_metrics("end");
        self.keep(stage);
        self.reached.outcomes(&self.outcomes);
        self.reached.metrics(&stage.mesh);
        self.check_outcomes()?;
        check_bytes(&stage.mesh, &self.outcomes)?;
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
            let action = step.kind();
            let title = format!("step {number}, {}", action.title());
            self.fabric.state().note(What::Step { number, title: action.title() });
            let kind = step.action().map_or("", |(kind, _)| kind);
            self.reached.add("step", kind);
            match action.begin(&mut stage.mesh) {
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

    fn check_outcomes(&self) -> Result<(), String> {
        let crashes = self.scenario.steps().filter_map(|step| step.crash.as_ref());
        let truncating = crashes.into_iter().any(|crash| crash.how == How::End);
        for outcome in &self.outcomes {
            check_outcome(outcome, truncating)?;
            if let Some(wanted) = &outcome.request.expect
                && *wanted != outcome.end.to_string()
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
                let close = crate::client::raw::Say::Close(crate::steps::Close::End);
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
