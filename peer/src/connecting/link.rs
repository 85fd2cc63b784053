//! An open link to a listening peer: registers our names there and what is passed on, and
//! answers each FORWARD with a DATA connection. [`keeper`](super::keeper) opens it again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_rustls::rustls;
use tracing::field::display;

use super::addresses::Wish;
use super::ended::Ended;
use super::held::Wanted;
use super::idle_data::IdleData;
use super::offers::{Change, Offers, offers_to};
use super::refused::Refused;
use super::reserve::FromLink;
use super::serve::{Active, NotServed, Serving, counted};
use crate::backend::health::board::{Sorted, Standing};
use crate::limits::{FORWARDS_PER_LINK, LINK_SETTLE, PASS_ON_AFTER};
use crate::mesh::hubs::To;
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::metrics::{ClientFailure, Rejection};
use crate::observe::own_links::Listed;
use crate::offer::Offer;
use crate::shared::Shared;
use crate::stream::control::{Control, ControlError, Event};
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::trust::tls::{Loaded, Verdict};
use crate::upstream::{DialledPeer, Target};
use crate::wire::{
    ErrorCode, FailReason, Line, LineBuffer, ReportedError, Requested, WireError, Withdrawal,
    in_lines,
};

/// A link that is open.
pub(super) struct Link<N: Net> {
    shared: Arc<Shared<N>>,
    /// What it is kept as; nothing, once [another](Self::goes_on_beside) is.
    wanted: Option<Arc<Wanted>>,
    target: Arc<Target>,
    control: Control<Transport<N::Stream>>,
    /// What is registered, and what is to be left out.
    offers: Offers,
    refused: Arc<Refused>,
    /// Who serves what here may have changed, where that is passed on.
    changes: watch::Receiver<u64>,
    /// When the last whole line came.
    heard: Instant,
    /// FAIL lines of forwards that did not get to their DATA connection.
    failed: (mpsc::Sender<Line>, mpsc::Receiver<Line>),
    /// One for each request that this link may still carry.
    slots: Arc<Semaphore>,
    idle: IdleData<N>,
    /// Whether REGISTER may be sent: at once, unless who answers decides.
    may_register: bool,
    registered: bool,
    /// REGISTER and UNREGISTER lines that were not answered yet.
    unanswered: usize,
    /// As operators see it.
    listed: Listed,
    /// When a line was sent whose answer is waited for, and how many answers come before.
    asked: Option<(Instant, usize)>,
    /// How far the link has come in its giving up.
    retiring: Retiring,
    /// What the listening peer showed, and when to look at that again.
    chain: Vec<CertificateDer<'static>>,
    judged_by: Option<Arc<Loaded>>,
    /// What it was opened with, and goes by for as long as it lasts; whether there is something
    /// to be registered that only the certificate of now permits.
    shown: Option<Arc<Loaded>>,
    outgrown: bool,
    looks: watch::Receiver<()>,
    /// Which of our services pass their checks, and those that the listening peer was
    /// told do not.
    health: watch::Receiver<BTreeMap<Name, Standing>>,
    withdrawn: BTreeSet<Name>,
}

/// A link whose address is gone is given up when its requests have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retiring {
    No,
    /// UNREGISTER is on its way: FORWARDs may still come.
    Withdrawing,
    /// It was answered at that time: none come any more, but for those that were on their way
    /// over an idle DATA connection.
    Withdrawn(Instant),
}

impl Retiring {
    /// Returns once no request runs, and none can come.
    async fn over(self, slots: &Semaphore) {
        let Self::Withdrawn(at) = self else { return pending().await };
        sleep_until(at + LINK_SETTLE).await;
        // They are never closed.
        let _ = slots.acquire_many(FORWARDS_PER_LINK as u32).await;
    }
}

impl<N: Net> Link<N> {
    /// On a connection that was just dialled; `refused` names are left out.
    pub(super) fn new(
        shared: Arc<Shared<N>>,
        wanted: Arc<Wanted>,
        target: Arc<Target>,
        dialled: DialledPeer<N>,
        refused: Arc<Refused>,
    ) -> Self {
        let peer = shared.peer_id.clone();
        let slots = Arc::new(Semaphore::new(FORWARDS_PER_LINK));
        let proof = dialled.token.map(|(token, exporter)| token.hello_proof(&exporter, &peer));
        let addr = shared.net.peer_addr(dialled.stream.inner()).ok();
        let mut control = Control::new(dialled.stream, LineBuffer::default());
        control.queue(&Line::Hello { peer, proof });
        Self {
            offers: Offers::default(),
            refused,
            changes: shared.mesh.changes(),
            listed: shared.own_links.opened(target.to_string(), addr),
            asked: None,
            control,
            heard: Instant::now(),
            failed: mpsc::channel(FORWARDS_PER_LINK),
            idle: IdleData::new(shared.clone(), target.clone(), slots.clone(), wanted.budget()),
            slots,
            // Several links may lead to one peer, and a peer may meet itself: whoever is
            // not wanted leaves before it registers.
            may_register: matches!(target.to, To::Address(_)) && !shared.config().is_listening(),
            registered: false,
            unanswered: 0,
            retiring: Retiring::No,
            chain: dialled.chain,
            judged_by: shared.tls.as_ref().map(|tls| tls.current()),
            shown: shared.tls.as_ref().map(|tls| tls.current()),
            outgrown: false,
            looks: shared.looks_at_tls(),
            health: shared.health.changes(),
            withdrawn: BTreeSet::new(),
            shared,
            wanted: Some(wanted),
            target,
        }
    }

    /// From now on another link is kept in its place. This one goes on until it ends, and
    /// is to be [`run`](Self::run) again.
    pub(super) fn goes_on_beside(&mut self) {
        self.wanted = None;
        // It would reach the process that the other link is to.
        self.idle.dial_no_more();
    }

    /// Serves it until it ends, or [another](Ended::Redial) is to be opened beside it.
    pub(super) async fn run(&mut self, mut wish: watch::Receiver<Wish>) -> Ended {
        let shared = self.shared.clone();
        let slots = self.slots.clone();
        let mut timing = shared.config().timing;
        let mut reconfigurations = shared.reconfigurations();
        let mut heartbeat = beats(timing.heartbeat);
        // Whoever listens, too, goes on serving its own clients, who may need this link.
        let listens = shared.config().is_listening();
        let mut draining = false;
        // Many changes at once are said together.
        let mut changed_at: Option<Instant> = None;
        loop {
            if self.outgrown {
                return Ended::Outgrown;
            }
            let silent_at = self.heard + timing.peer_timeout;
            let stalled_at = self.control.stalled_at();
            let wake = stalled_at.map_or(silent_at, |at| at.min(silent_at));
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Closing) => return Ended::Closing,
                () = shared.tasks.entered(Phase::Draining), if !draining => {
                    draining = true;
                    self.withdraw();
                    heartbeat.reset();
                }
                () = until_given_up(&mut wish, self.wanted.as_deref()), if self.retiring == Retiring::No => {
                    self.withdraw();
                }
                () = self.retiring.over(&slots), if !draining || !listens => {
                    return if draining { Ended::Closing } else { Ended::Retired };
                }
                event = self.control.event() => match event {
                    Ok(Event::Line(line)) => {
                        self.heard = Instant::now();
                        let might = self.may_register;
                        if let Err(ended) = self.take(line) {
                            return ended;
                        }
                        if !might && self.may_register {
                            heartbeat.reset_immediately();
                        }
                    }
                    Ok(Event::Written(_)) => {}
                    Ok(Event::Ended) => return Ended::Closed,
                    Err(error) => return error.into(),
                },
                Some(line) = self.failed.1.recv() => { self.control.queue(&line); }
                _ = heartbeat.tick(), if self.may_register => {
                    self.beat(draining || self.retiring != Retiring::No);
                    if self.registered {
                        self.idle.next_period();
                    }
                }
                Ok(()) = reconfigurations.changed() => {
                    let before = std::mem::replace(&mut timing, shared.config().timing);
                    if timing.heartbeat != before.heartbeat {
                        heartbeat = beats(timing.heartbeat);
                    }
                    changed_at = changed_at.or(Some(Instant::now()));
                }
                Ok(()) = self.changes.changed(), if changed_at.is_none() && passes_on(&shared) => {
                    changed_at = Some(Instant::now());
                }
                () = sleep_until(changed_at.unwrap_or(wake) + PASS_ON_AFTER), if changed_at.is_some() => {
                    changed_at = None;
                    if self.registered && !draining && self.retiring == Retiring::No {
                        self.say_changes();
                    }
                }
                Ok(()) = self.looks.changed() => {
                    if let Err(ended) = self.look_again() {
                        return ended;
                    }
                }
                Ok(()) = self.health.changed(), if !draining => self.health_changed(),
                () = sleep_until(wake) => {
                    return if wake == silent_at { Ended::Silent } else { Ended::Stalled };
                }
            }
        }
    }

    /// How many names have been said.
    pub(super) fn said(&self) -> usize {
        self.offers.count()
    }

    /// Tells the listening peer why the link has ended, if that is not its own doing, and
    /// closes it.
    pub(super) async fn take_leave(self, ended: &Ended) {
        if let Some((code, text)) = ended.farewell() {
            if let Ended::Control(_) = ended {
                self.shared.metrics.rejected(Rejection::from(code));
            }
            self.control.refuse(code, text).await;
        }
    }

    /// The files of TLS were looked at, and what the listening peer showed is, too. What
    /// we show may have changed: idle DATA connections are dialled again with it.
    fn look_again(&mut self) -> Result<(), Ended> {
        let Some(tls) = self.shared.tls.as_ref().filter(|_| !self.chain.is_empty()) else {
            return Ok(());
        };
        let loaded = tls.current();
        let now = UnixTime::since_unix_epoch(self.shared.net.unix_time());
        let host = ServerName::try_from(self.target.upstream.host.as_str());
        let verdict =
            host.map_or(Verdict::Outdated, |host| loaded.judge_server(&self.chain, &host, now));
        if verdict == Verdict::Revoked {
            return Err(Ended::Revoked);
        }
        let before = self.judged_by.replace(loaded.clone());
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &loaded));
        if is_new && !self.refused.is_empty() {
            return Err(Ended::Renewed);
        }
        if is_new || verdict == Verdict::Outdated {
            self.idle.redial();
        }
        Ok(())
    }

    /// REGISTER of all names is the heartbeat; while draining, and for services whose
    /// backends fail their checks, UNREGISTER is.
    fn beat(&mut self, draining: bool) {
        self.look_at_offers(draining);
        if self.outgrown {
            return;
        }
        if draining {
            let names: Vec<Withdrawal> = self.offers.said().map(|one| one.name.into()).collect();
            for names in in_lines(names) {
                self.ask(&Line::Unregister(names));
            }
            return;
        }
        self.health.mark_unchanged();
        let sorted = self.shared.health.sort(self.offers.said());
        self.withdrawn = sorted.down.iter().map(|one| one.name.clone()).collect();
        if sorted.up.is_empty() && sorted.down.is_empty() {
            // Nothing to say, and still here.
            self.ask(&Line::Register(Vec::new()));
        }
        self.say(sorted);
    }

    /// Tells of services that have fallen or risen, and of no others.
    fn health_changed(&mut self) {
        self.health.mark_unchanged();
        let Sorted { mut up, mut down } = self.shared.health.sort(self.offers.said());
        up.retain(|offer| self.withdrawn.remove(&offer.name));
        down.retain(|one| self.withdrawn.insert(one.name.clone()));
        self.say(Sorted { up, down });
    }

    fn say(&mut self, Sorted { up, down }: Sorted) {
        for offers in in_lines(up) {
            self.ask(&Line::Register(offers));
        }
        for withdrawals in in_lines(down) {
            self.ask(&Line::Unregister(withdrawals));
        }
    }

    /// Queues a line that is answered with OK.
    fn ask(&mut self, line: &Line) {
        self.asked.get_or_insert((Instant::now(), self.unanswered));
        self.unanswered += 1;
        self.control.queue(line);
    }

    /// Takes no more requests, and lets those that run end.
    fn withdraw(&mut self) {
        if self.retiring == Retiring::No {
            self.retiring = Retiring::Withdrawing;
        }
        // A peer that has not registered has nothing to withdraw, nor is it answered.
        if self.may_register {
            self.beat(true);
        }
        self.may_be_withdrawn();
    }

    /// While the link is given up: once everything is answered, so is the withdrawal of
    /// the names, and no FORWARD comes any more.
    fn may_be_withdrawn(&mut self) {
        if self.retiring == Retiring::Withdrawing && self.unanswered == 0 {
            self.retiring = Retiring::Withdrawn(Instant::now());
        }
    }

    /// Withdraws names that are gone. What is new is said by the heartbeat, or returned.
    fn look_at_offers(&mut self, draining: bool) -> Vec<Offer> {
        if draining {
            return Vec::new();
        }
        let offers = offers_to(&self.shared, self.target.hub(), &self.refused);
        let Change { register, unregister } = self.offers.change(offers);
        if self.has_outgrown(&register) {
            self.outgrown = true;
            return Vec::new();
        }
        unregister.iter().for_each(|name| {
            self.withdrawn.remove(name);
        });
        for names in in_lines(unregister.into_iter().map(Withdrawal::from)) {
            self.ask(&Line::Unregister(names));
        }
        register
    }

    /// Whether one of these can be registered with the certificate of now, and could not with
    /// the one that this link was opened with.
    fn has_outgrown(&self, new: &[Offer]) -> bool {
        let (Some(shown), Some(tls)) = (&self.shown, &self.shared.tls) else { return false };
        let loaded = tls.current();
        if Arc::ptr_eq(shown, &loaded) {
            return false;
        }
        let config = self.shared.config();
        let (then, now) = (shown.own_permission(&config), loaded.own_permission(&config));
        !then.is_same(&now)
            && new.iter().any(|one| !then.permits(&one.name) && now.permits(&one.name))
    }

    /// Says what has changed since the last heartbeat.
    fn say_changes(&mut self) {
        let new = self.look_at_offers(false);
        let sorted = self.shared.health.sort(new);
        self.withdrawn.extend(sorted.down.iter().map(|one| one.name.clone()));
        self.say(sorted);
    }

    fn take(&mut self, line: Line) -> Result<(), Ended> {
        match line {
            Line::Welcome(hub) => self.welcome(hub),
            // Our first REGISTER is answered; where all backends are down, our UNREGISTER.
            Line::Ok(_) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.show();
                if self.retiring != Retiring::No {
                    self.may_be_withdrawn();
                } else if !self.registered {
                    self.registered = true;
                    self.wanted.iter().for_each(|wanted| wanted.registered());
                    self.shared.hubs.opened(self.target.as_hub());
                    self.shared.mesh.upstream_opened();
                    let upstream = &self.target.upstream;
                    if self.refused.is_empty() {
                        self.shared.metrics.client_names_refused(upstream, 0);
                    }
                    let hub = self.target.hub().map(display);
                    let config = self.shared.config();
                    let via = config.proxies.to(upstream).map(display);
                    tracing::info!(upstream = %self.target, hub, via, "link up, names registered");
                    self.idle.replenish();
                }
                Ok(())
            }
            Line::Forward(id, requested) => {
                self.forward(id, requested);
                Ok(())
            }
            Line::Redial if self.wanted.is_some() => Err(Ended::Redial),
            Line::Redial => Ok(()),
            Line::Error(code, text) => Err(Ended::Refused(ReportedError { code, text })),
            Line::Hello { .. }
            | Line::Register(_)
            | Line::Unregister(_)
            | Line::Fail(..)
            | Line::Data { .. }
            | Line::DataUntold(_)
            | Line::DataIdle { .. }
            | Line::Open { .. } => Err(Ended::Control(ControlError::Wire(WireError::new(
                ErrorCode::UnexpectedCommand,
                "this line is not allowed on a link to a connecting peer",
            )))),
        }
    }

    /// A line was answered: what operators see is brought up to date.
    fn show(&mut self) {
        self.asked = match self.asked {
            Some((at, 0)) => {
                self.listed.round_trip(at.elapsed());
                None
            }
            other => other.map(|(at, before)| (at, before - 1)),
        };
        self.listed.has(self.offers.count() - self.withdrawn.len(), self.idle.count());
    }

    /// The listening peer has said who it is.
    fn welcome(&mut self, hub: PeerId) -> Result<(), Ended> {
        if hub == self.shared.peer_id {
            return Err(Ended::Itself);
        }
        let is_first = self.wanted.as_ref().is_none_or(|wanted| wanted.reached(&hub));
        if !is_first && matches!(self.target.to, To::Behind(_)) {
            return Err(Ended::SameAgain(hub));
        }
        self.listed.answered(hub.clone());
        self.target.answered(hub);
        self.may_register = true;
        Ok(())
    }

    /// Serves a FORWARD beside all others: none waits for another.
    fn forward(&mut self, id: ProxyId, requested: Requested) {
        let from_link = self.idle.missed(id);
        if from_link == FromLink::Ignore {
            return;
        }
        let (shared, target) = (self.shared.clone(), self.target.clone());
        let serving = Serving::new(shared, target, id, requested);
        let active = Active::begin(&serving);
        let slot = self.slots.clone().try_acquire_owned().ok();
        let Some(slot) = slot.filter(|_| from_link == FromLink::Serve) else {
            serving.tell_overloaded();
            self.control.queue(&Line::Fail(id, FailReason::Overloaded));
            return active.end(Err(ClientFailure::Overloaded));
        };
        let failed = self.failed.0.clone();
        let busy = self.shared.tasks.busy();
        let place = self.shared.tasks.workers().for_dialled();
        self.shared.spawn_at(place, async move {
            let ended = serving.by_dialling().await;
            active.end(counted(&ended));
            if let Err(NotServed { untold: Some(reason), .. }) = ended {
                // A link that has ended has failed the request already.
                let _ = failed.send(Line::Fail(id, reason)).await;
            }
            drop((busy, slot));
        });
    }
}

/// Returns once the link is to be given up: its address is gone, and no other upstream leads to
/// the peer that it is to. Such a one would have to open it again, and the names would be down
/// until then.
async fn until_given_up(wish: &mut watch::Receiver<Wish>, wanted: Option<&Wanted>) {
    // Nobody wishes anything any more.
    let Ok(_) = wish.wait_for(|wish| *wish == Wish::Retire).await else { return pending().await };
    if let Some(wanted) = wanted {
        wanted.until_alone().await;
    }
}

fn beats(every: Duration) -> Interval {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

fn passes_on<N: Net>(shared: &Shared<N>) -> bool {
    !shared.config().transit.is_empty()
}
