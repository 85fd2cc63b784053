//! One scenario, played in the real world and held against its simulated run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::counters::difference;
use super::lab::Lab;
use super::laws::check_sums;
use crate::checks::check_outcome;
use crate::metrics::Exported;
use crate::run::{HEALED_WITHIN, Played};
use crate::scenario::steps::{self, Expect, How, Request};
use crate::scenario::{Kind, Scenario};

/// What is so at a certain moment of the simulation may be so this much later, if the scenario
/// does not say how much.
const LEEWAY: Duration = Duration::from_secs(2);

/// What is done to hosts has happened there after this time: sockets are closed for good, and
/// others are open.
const SETTLES_IN: Duration = Duration::from_millis(50);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process is there, and answers on its admin address, within this time.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// A process that was told to stop at once has ended within this time.
const DOWN_WITHIN: Duration = Duration::from_secs(20);

/// Between two tries of what is not served yet.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a run is held against, beside what must always hold.
#[derive(Debug)]
pub(super) enum Against<'a> {
    /// The peers must have counted what those of this simulated run have.
    Simulated(&'a Played),
    /// Once all faults are healed, these requests must be served, as in a simulated run.
    Healed(&'a [Request]),
}

/// How to play one scenario.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// The command under test.
    pub(super) binary: &'a Path,
    /// Where the peers' logs are kept; nowhere if absent.
    pub(super) logs: Option<PathBuf>,
    /// Set once nobody waits for the result any more.
    pub(super) over: &'a AtomicBool,
    /// What happens beside the steps, in the order of its time.
    pub(super) upgrades: Vec<Upgrade>,
}

/// A peer is replaced by another process of the same program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Upgrade {
    /// When, after all have been started.
    pub(super) at: Duration,
    /// Its host.
    pub(super) peer: String,
}

/// Plays a scenario. How often another process has taken over from a peer.
///
/// # Errors
/// The first thing that must not be so.
pub(super) fn play(
    scenario: &Scenario,
    against: &Against<'_>,
    setup: &Setup<'_>,
) -> Result<usize, String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    LocalSet::new().block_on(&runtime, async {
        let mut lab = Lab::make(scenario, setup.binary, setup.logs.clone())?;
        let upgrades = &setup.upgrades;
        let player = Player { scenario, against, over: setup.over, upgrades };
        player.perform(&mut lab).await?;
        lab.peers.values_mut().for_each(|process| lab.taken_over += process.taken_over());
        Ok(lab.taken_over)
    })
}

struct Player<'a> {
    scenario: &'a Scenario,
    against: &'a Against<'a>,
    over: &'a AtomicBool,
    upgrades: &'a [Upgrade],
}

impl Player<'_> {
    async fn perform(&self, lab: &mut Lab) -> Result<(), String> {
        self.start_all(lab).await?;
        lab.witness.begin();
        self.timeline(lab).await?;
        let within = self.scenario.network.quiet_within.0;
        self.wait(lab, within, async |lab| self.quiet(lab).await).await?;
        self.check_outcomes(lab)?;
        self.wait(lab, self.leeway(), async |lab| self.lawful(lab).await).await?;
        match self.against {
            Against::Simulated(played) => {
                self.wait(lab, self.leeway(), async |lab| self.same_counters(lab, played).await)
                    .await?;
            }
            Against::Healed(probes) => {
                lab.heal_all().map_err(|error| error.to_string())?;
                self.served(lab, probes).await?;
                self.check_outcomes(lab)?;
                self.wait(lab, self.leeway(), async |lab| self.lawful(lab).await).await?;
            }
        }
        self.stop_all(lab).await
    }

    /// Waits until `look` has nothing to say; its last word is the error.
    async fn wait(
        &self,
        lab: &mut Lab,
        within: Duration,
        mut look: impl AsyncFnMut(&mut Lab) -> Result<(), String>,
    ) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match look(lab).await {
                Ok(()) => return Ok(()),
                Err(amiss) if began.elapsed() > within => return Err(amiss),
                Err(_) => self.pause(LOOK_EVERY).await?,
            }
        }
    }

    fn leeway(&self) -> Duration {
        self.scenario.real.leeway.map_or(LEEWAY, |leeway| leeway.0)
    }

    async fn pause(&self, time: Duration) -> Result<(), String> {
        sleep(time).await;
        if self.over.load(Relaxed) { Err("it was interrupted".to_owned()) } else { Ok(()) }
    }

    /// Backends and clients, then peers: those first that others connect to.
    async fn start_all(&self, lab: &mut Lab) -> Result<(), String> {
        let others = self.scenario.backends.keys().chain(&self.scenario.clients);
        for host in others {
            lab.start(host).map_err(|error| format!("{host}: {error}"))?;
        }
        let running = self.scenario.peers.iter().filter(|(_, peer)| !peer.starts_late);
        let (connecting, listening): (Vec<_>, Vec<_>) =
            running.partition(|(_, peer)| !peer.connect.is_empty());
        for peers in [listening, connecting] {
            for (host, _) in &peers {
                lab.start(host).map_err(|error| format!("{host}: {error}"))?;
            }
            for (host, _) in &peers {
                self.wait_for_peer(lab, host).await.map_err(|error| format!("{host}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Waits until a peer answers on its admin address.
    async fn wait_for_peer(&self, lab: &mut Lab, host: &str) -> Result<(), String> {
        let began = Instant::now();
        while let Err(error) = lab.scrape(host).await {
            if !lab.is_running(host) {
                return Err(format!("it does not start: {}", lab.peers[host].last_words()));
            }
            if began.elapsed() > UP_WITHIN {
                return Err(error);
            }
            self.pause(LOOK_EVERY).await?;
        }
        Ok(())
    }

    /// The steps, each when its time has come and the one before it is done.
    async fn timeline(&self, lab: &mut Lab) -> Result<(), String> {
        let (mut began, mut upgrades) = (Duration::ZERO, self.upgrades.iter().peekable());
        let mut upgrade = |lab: &mut Lab| {
            let now = lab.witness.elapsed();
            while let Some(upgrade) = upgrades.next_if(|upgrade| upgrade.at <= now) {
                lab.upgrade(&upgrade.peer);
            }
        };
        for (number, step) in (1..).zip(self.scenario.steps()) {
            let due = match (step.at, step.after) {
                (Some(at), _) => at.0,
                (None, Some(after)) => began + after.0,
                (None, None) => began,
            };
            while let Some(left) = due.checked_sub(lab.witness.elapsed()).filter(|d| !d.is_zero()) {
                self.pause(left.min(LOOK_EVERY)).await?;
                upgrade(lab);
            }
            upgrade(lab);
            began = lab.witness.elapsed();
            let kind = step.kind();
            let said = |amiss: String| format!("step {number}, {}: {amiss}", kind.title());
            match kind {
                Kind::Expect(expect) => self.expect(lab, expect).await.map_err(said)?,
                kind => {
                    match lab.take(kind) {
                        Ok(()) => {}
                        Err(_) if self.may_be_impossible(kind) => {}
                        Err(amiss) => return Err(said(amiss)),
                    }
                    // It has no ears for signals before it is up.
                    if let Kind::Restart(steps::Restart(host)) = kind
                        && self.scenario.peers.contains_key(host)
                    {
                        self.wait_for_peer(lab, host).await.map_err(said)?;
                    }
                    if !matches!(kind, Kind::Request(_) | Kind::Raw(_)) {
                        self.pause(SETTLES_IN).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a step that cannot be taken is left out: what it is for may be gone.
    fn may_be_impossible(&self, kind: Kind<'_>) -> bool {
        let of_a_process = matches!(
            kind,
            Kind::Drain(_) | Kind::Stop(_) | Kind::Freeze(_) | Kind::Thaw(_) | Kind::Reload(_)
        );
        let of_something = of_a_process || matches!(kind, Kind::Configure(_) | Kind::Raw(_));
        !self.scenario.faults_must_bite && of_something
    }

    async fn expect(&self, lab: &mut Lab, expect: &Expect) -> Result<(), String> {
        let within = expect.within.map_or(Duration::ZERO, |within| within.0);
        self.wait(lab, within + self.leeway(), async |lab| lab.amiss(expect).await).await
    }

    /// Whether nothing is going on any more.
    async fn quiet(&self, lab: &mut Lab) -> Result<(), String> {
        if !lab.all_asked() {
            let all = lab.outcomes.all();
            let open = all.iter().find(|one| one.ended.is_none());
            let open = open.map_or("a request".to_owned(), ToString::to_string);
            return Err(format!("not over: {open}"));
        }
        for host in self.scenario.peers.keys() {
            if !lab.is_running(host) {
                continue;
            }
            lab.scrape(host).await.map_err(|error| format!("{host}: {error}"))?;
            for gauge in ["connections_active", "pending_data_connections"] {
                let value = lab.exported[host].select(gauge)?.unwrap_or(0.0);
                if value != 0.0 {
                    return Err(format!("not quiet: {gauge} of {host} is {value}"));
                }
            }
        }
        Ok(())
    }

    fn check_outcomes(&self, lab: &Lab) -> Result<(), String> {
        // A process that is killed ends its connections like this, too; and one that still runs
        // is killed before it is started anew.
        let truncating = self.scenario.steps().any(|step| {
            step.restart.is_some()
                || step.crash.as_ref().is_some_and(|crash| crash.how != How::Silent)
        });
        for outcome in lab.outcomes.all() {
            check_outcome(&outcome, truncating)?;
            if let Some(wanted) = &outcome.request.expect
                && *wanted != outcome.ended_as()
            {
                return Err(format!("expected {wanted}: {outcome}"));
            }
        }
        Ok(())
    }

    /// Checks what the peers have counted against itself.
    async fn lawful(&self, lab: &mut Lab) -> Result<(), String> {
        for host in self.scenario.peers.keys() {
            if lab.is_running(host) {
                lab.scrape(host).await.map_err(|error| format!("{host}: {error}"))?;
                let exported = &lab.exported[host];
                check_sums(exported).map_err(|amiss| format!("at {host}: {amiss}"))?;
            }
        }
        Ok(())
    }

    /// Makes these requests until each was served once.
    async fn served(&self, lab: &mut Lab, probes: &[Request]) -> Result<(), String> {
        let began = Instant::now();
        let mut missing = probes.to_vec();
        loop {
            let before = lab.outcomes.with(<[_]>::len);
            for probe in missing.drain(..) {
                lab.request_later(Duration::ZERO, probe);
            }
            let within = self.scenario.network.quiet_within.0;
            self.wait(lab, within, async |lab| self.quiet(lab).await).await?;
            let asked = lab.outcomes.all().split_off(before);
            let failed: Vec<_> = asked.into_iter().filter(|one| !one.is_whole()).collect();
            match failed.first() {
                None => return Ok(()),
                Some(one) if began.elapsed() > HEALED_WITHIN => {
                    return Err(format!("not served after all was healed: {one}"));
                }
                Some(_) => missing.extend(failed.into_iter().map(|one| one.request)),
            }
            self.pause(ASK_AGAIN_AFTER).await?;
        }
    }

    /// Compares what the peers have counted with what those of the simulation have, at its
    /// end. One that has ended by itself has nothing left to say.
    async fn same_counters(&self, lab: &mut Lab, simulated: &Played) -> Result<(), String> {
        for kept in simulated.kept.iter().filter(|kept| kept.label == "end") {
            let host = &kept.peer;
            let uncompared = &self.scenario.real.uncompared;
            if uncompared.contains_key(host) || !lab.is_running(host) {
                continue;
            }
            lab.scrape(host).await.map_err(|error| format!("{host}: {error}"))?;
            let simulated = Exported::parse(&kept.text)?;
            if let Some(what) = difference(&simulated, &lab.exported[host], uncompared.keys()) {
                return Err(format!("at the end, at {host}: {what}"));
            }
        }
        Ok(())
    }

    /// All peers stop, and none may have failed.
    async fn stop_all(&self, lab: &mut Lab) -> Result<(), String> {
        let hosts: Vec<String> = lab.peers.keys().cloned().collect();
        let amiss = |lab: &mut Lab, host: &String| {
            let amiss = lab.peers.get_mut(host)?.amiss()?;
            Some(format!("{host}: {amiss}"))
        };
        for host in &hosts {
            if let Some(amiss) = amiss(lab, host) {
                return Err(amiss);
            }
            for signal in [Signal::TERM, Signal::INT] {
                // One that has ended is not there to be stopped.
                let _ = lab.signal(host, signal);
            }
        }
        for host in &hosts {
            self.wait(lab, DOWN_WITHIN, async |lab| match lab.is_running(host) {
                true => Err(format!("{host} does not stop")),
                false => Ok(()),
            })
            .await?;
            if let Some(amiss) = amiss(lab, host) {
                return Err(amiss);
            }
        }
        lab.witness.wrongs().into_iter().next().map_or(Ok(()), Err)
    }
}
