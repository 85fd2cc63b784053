//! The connecting side: keeps a link to a listening peer, registers our names
//! there, and answers each FORWARD with a DATA connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_rustls::rustls;

use super::backoff::Backoff;
use super::idle_data::IdleData;
use super::reserve::FromLink;
use super::serve::{Active, Serving};
use super::upstream::{DialledPeer, dial_peer};
use crate::backend::health::board::{Sorted, Standing};
use crate::config::Endpoint;
use crate::limits::FORWARDS_PER_LINK;
use crate::names::{Name, ProxyId};
use crate::observe::metrics::{ClientFailure, Rejection};
use crate::offer::Offer;
use crate::shared::Shared;
use crate::stream::control::{Control, ControlError, Event};
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::trust::tls::{Loaded, Verdict};
use crate::wire::{
    ErrorCode, FailReason, Line, LineBuffer, ReportedError, Requested, WireError, forbidden_names,
    in_lines,
};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the listening peer")]
    Closed,
    #[error("nothing received within the peer timeout")]
    Silent,
    #[error("the listening peer stopped reading")]
    Stalled,
    #[error("refused by the listening peer: {0}")]
    Refused(ReportedError),
    #[error("the listening peer's certificate has been revoked")]
    Revoked,
    #[error("certificates or tokens have changed, and names that were refused are tried again")]
    Renewed,
    #[error("this process ends")]
    Closing,
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Keeps a link to `upstream` until the peer closes.
pub async fn keep_link<N: Net>(shared: Arc<Shared<N>>, upstream: Endpoint) {
    let mut backoff = Backoff::default();
    let mut refused = Refused::default();
    shared.metrics.client_link(&upstream, false);
    while shared.tasks.phase() < Phase::Draining {
        let began = Instant::now();
        match dial_peer(&shared, &upstream).await {
            Ok(dialled) => {
                let offers = refused.others(&shared);
                let has_refused = !refused.names.is_empty();
                let mut link =
                    Link::new(shared.clone(), upstream.clone(), dialled, offers, has_refused);
                let ended = link.run().await;
                shared.metrics.client_link(&upstream, false);
                tracing::warn!(%upstream, reason = %ended, "link down");
                if let Ended::Control(ControlError::Wire(error)) = &ended {
                    shared.metrics.rejected(Rejection::from(error.code));
                    link.control.refuse(error.code, &error.text).await;
                }
                backoff.link_ended(began.elapsed());
                if refused.learn(&shared, &upstream, &ended) {
                    // The others are asked for at once.
                    continue;
                }
            }
            Err(error) => tracing::warn!(%upstream, %error, "cannot dial the listening peer"),
        }
        let wait = backoff.next(shared.random());
        tracing::debug!(%upstream, ?wait, "waiting before the next dial");
        tokio::select! {
            biased;
            () = shared.tasks.entered(Phase::Draining) => {}
            () = sleep(wait) => {}
        }
    }
}

/// Names that a listening peer does not let us register. They are left out of the next
/// link, so that the others are served, and asked for again after that one.
#[derive(Default)]
struct Refused {
    names: BTreeSet<Name>,
}

impl Refused {
    /// Our names but for these, in groups of a line each.
    fn others<N: Net>(&self, shared: &Shared<N>) -> Vec<Vec<Offer>> {
        in_lines(shared.config.offers().filter(|offer| !self.names.contains(&offer.name)))
    }

    /// Takes note of how a link ended. Whether the next one is to be opened at once, with
    /// fewer names.
    fn learn<N: Net>(&mut self, shared: &Shared<N>, upstream: &Endpoint, ended: &Ended) -> bool {
        let before = self.names.len();
        if let Ended::Refused(ReportedError { code: ErrorCode::NameForbidden, text }) = ended {
            let is_ours = |name: &Name| shared.config.services.contains_key(name);
            self.names.extend(forbidden_names(text).into_iter().filter(is_ours));
        }
        if self.names.len() == before {
            self.names.clear();
            return false;
        }
        let names: Vec<&str> = self.names.iter().map(Name::as_str).collect();
        let others = shared.config.services.len() - names.len();
        tracing::warn!(
            %upstream,
            names = names.join(", "),
            others,
            "the listening peer refuses to register these names: the certificate or token of \
             this peer does not permit them; the others are served"
        );
        shared.metrics.client_names_refused(upstream, names.len());
        if others == 0 {
            self.names.clear();
        }
        others > 0
    }
}

struct Link<N: Net> {
    shared: Arc<Shared<N>>,
    upstream: Endpoint,
    hello: Line,
    control: Control<Transport<N::Stream>>,
    /// Our names, in groups of a line each.
    offers: Vec<Vec<Offer>>,
    /// When the last whole line came.
    heard: Instant,
    /// FAIL lines of forwards that did not get to their DATA connection.
    failed: (mpsc::Sender<Line>, mpsc::Receiver<Line>),
    /// One for each request that this link may still carry.
    slots: Arc<Semaphore>,
    idle: IdleData<N>,
    registered: bool,
    /// Some of our names were refused and left out.
    has_refused: bool,
    /// What the listening peer showed, and when to look at that again.
    chain: Vec<CertificateDer<'static>>,
    judged_by: Option<Arc<Loaded>>,
    looks: watch::Receiver<()>,
    /// Which of our services pass their checks, and those that the listening peer was
    /// told do not.
    health: watch::Receiver<BTreeMap<Name, Standing>>,
    withdrawn: BTreeSet<Name>,
    /// HELLO was answered.
    greeted: bool,
}

impl<N: Net> Link<N> {
    fn new(
        shared: Arc<Shared<N>>,
        upstream: Endpoint,
        dialled: DialledPeer<N>,
        offers: Vec<Vec<Offer>>,
        has_refused: bool,
    ) -> Self {
        let peer = shared.config.peer_id.clone();
        let slots = Arc::new(Semaphore::new(FORWARDS_PER_LINK));
        Self {
            offers,
            hello: Line::Hello {
                proof: dialled.token.map(|(token, exporter)| token.hello_proof(&exporter, &peer)),
                peer,
            },
            control: Control::new(dialled.stream, LineBuffer::default()),
            heard: Instant::now(),
            failed: mpsc::channel(FORWARDS_PER_LINK),
            idle: IdleData::new(shared.clone(), upstream.clone(), slots.clone()),
            slots,
            registered: false,
            has_refused,
            chain: dialled.chain,
            judged_by: shared.tls.as_ref().map(|tls| tls.current()),
            looks: shared.looks_at_tls(),
            health: shared.health.changes(),
            withdrawn: BTreeSet::new(),
            greeted: false,
            shared,
            upstream,
        }
    }

    async fn run(&mut self) -> Ended {
        let shared = self.shared.clone();
        let timing = shared.config.timing;
        self.control.queue(&self.hello);
        let mut heartbeat = interval(timing.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = false;
        loop {
            let silent_at = self.heard + timing.peer_timeout;
            let stalled_at = self.control.stalled_at();
            let wake = stalled_at.map_or(silent_at, |at| at.min(silent_at));
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Closing) => return Ended::Closing,
                () = shared.tasks.entered(Phase::Draining), if !draining => {
                    draining = true;
                    heartbeat.reset_immediately();
                }
                event = self.control.event() => match event {
                    Ok(Event::Line(line)) => {
                        self.heard = Instant::now();
                        if let Err(ended) = self.take(line) {
                            return ended;
                        }
                    }
                    Ok(Event::Written(_)) => {}
                    Ok(Event::Ended) => return Ended::Closed,
                    Err(error) => return error.into(),
                },
                Some(line) = self.failed.1.recv() => { self.control.queue(&line); }
                _ = heartbeat.tick() => {
                    self.beat(draining);
                    if self.registered {
                        self.idle.next_period();
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

    /// The files of TLS were looked at, and what the listening peer showed is, too. What
    /// we show may have changed: idle DATA connections are dialled again with it.
    fn look_again(&mut self) -> Result<(), Ended> {
        let Some(tls) = self.shared.tls.as_ref().filter(|_| !self.chain.is_empty()) else {
            return Ok(());
        };
        let loaded = tls.current();
        let now = UnixTime::since_unix_epoch(self.shared.net.unix_time());
        let host = ServerName::try_from(self.upstream.host.as_str());
        let verdict =
            host.map_or(Verdict::Outdated, |host| loaded.judge_server(&self.chain, &host, now));
        if verdict == Verdict::Revoked {
            return Err(Ended::Revoked);
        }
        let before = self.judged_by.replace(loaded.clone());
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &loaded));
        if is_new && self.has_refused {
            return Err(Ended::Renewed);
        }
        if is_new || verdict == Verdict::Outdated {
            self.idle.redial();
        }
        Ok(())
    }

    /// REGISTER is the heartbeat; while draining, and for services whose backends fail
    /// their checks, UNREGISTER is.
    fn beat(&mut self, draining: bool) {
        if draining {
            for offers in &self.offers {
                let names = offers.iter().map(|offer| offer.name.clone().into());
                self.control.queue(&Line::Unregister(names.collect()));
            }
            return;
        }
        self.health.mark_unchanged();
        let sorted = self.shared.health.sort(self.offers.concat());
        self.withdrawn = sorted.down.iter().map(|one| one.name.clone()).collect();
        self.say(sorted);
    }

    /// Tells of services that have fallen or risen, and of no others.
    fn health_changed(&mut self) {
        self.health.mark_unchanged();
        let Sorted { mut up, mut down } = self.shared.health.sort(self.offers.concat());
        up.retain(|offer| self.withdrawn.remove(&offer.name));
        down.retain(|one| self.withdrawn.insert(one.name.clone()));
        self.say(Sorted { up, down });
    }

    fn say(&mut self, Sorted { up, down }: Sorted) {
        for offers in in_lines(up) {
            self.control.queue(&Line::Register(offers));
        }
        for withdrawals in in_lines(down) {
            self.control.queue(&Line::Unregister(withdrawals));
        }
    }

    fn take(&mut self, line: Line) -> Result<(), Ended> {
        match line {
            // HELLO is answered first, then our first REGISTER. Where all backends are down,
            // that is an UNREGISTER.
            Line::Ok(_) => {
                if std::mem::replace(&mut self.greeted, true) && !self.registered {
                    self.registered = true;
                    self.shared.metrics.client_link(&self.upstream, true);
                    if !self.has_refused {
                        self.shared.metrics.client_names_refused(&self.upstream, 0);
                    }
                    tracing::info!(upstream = %self.upstream, "link up, names registered");
                    self.idle.replenish();
                }
                Ok(())
            }
            Line::Forward(id, requested) => {
                self.forward(id, requested);
                Ok(())
            }
            Line::Error(code, text) => Err(Ended::Refused(ReportedError { code, text })),
            Line::Hello { .. }
            | Line::Register(_)
            | Line::Unregister(_)
            | Line::Fail(..)
            | Line::Data { .. }
            | Line::DataIdle { .. } => Err(Ended::Control(ControlError::Wire(WireError::new(
                ErrorCode::UnexpectedCommand,
                "this line is not allowed on a link to a connecting peer",
            )))),
        }
    }

    /// Serves a FORWARD beside all others: none waits for another.
    fn forward(&mut self, id: ProxyId, requested: Requested) {
        let from_link = self.idle.missed(id);
        if from_link == FromLink::Ignore {
            return;
        }
        let active = Active::begin(self.shared.metrics.clone());
        let slot = self.slots.clone().try_acquire_owned().ok();
        let Some(slot) = slot.filter(|_| from_link == FromLink::Serve) else {
            self.control.queue(&Line::Fail(id, FailReason::Overloaded));
            return active.end(Err(ClientFailure::Overloaded));
        };
        let (shared, upstream) = (self.shared.clone(), self.upstream.clone());
        let serving = Serving { shared, upstream, id, requested };
        let failed = self.failed.0.clone();
        let busy = self.shared.tasks.busy();
        self.shared.tasks.spawn(async move {
            active.end(serving.by_dialling(&failed).await);
            drop((busy, slot));
        });
    }
}
