//! Keeps one link to a listening peer: opens it, learns from how it ended, waits, and opens
//! it again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::addresses::Wish;
use super::backoff::Backoff;
use super::ended::Ended;
use super::held::Wanted;
use super::link::Link;
use super::refused::Refused;
use crate::limits::BACKOFF_BASE;
use crate::mesh::hubs::To;
use crate::names::PeerId;
use crate::observe::metrics::Incident;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;
use crate::upstream::{DialledPeer, Target};

/// Keeps one link: opens it again whenever it ends.
pub(super) struct Keeper<N: Net> {
    /// The peer that keeps it.
    pub(super) shared: Arc<Shared<N>>,
    /// Which link.
    pub(super) wanted: Arc<Wanted>,
    /// What is to become of it.
    pub(super) wish: watch::Receiver<Wish>,
    /// Hears when it has ended, or could not be opened.
    pub(super) ended: Arc<Notify>,
}

/// What to do before the next dial.
enum Next {
    /// Nothing.
    AtOnce,
    /// Wait for this long.
    After(Duration),
    /// Wait until no other link holds this peer.
    Alias(PeerId),
    /// Nothing will change: there is nobody to be reached but ourselves.
    Never,
}

impl<N: Net> Keeper<N> {
    /// Keeps the link until the peer drains, or it is not wished for.
    pub(super) async fn keep_link(mut self) {
        let Self { shared, wanted, .. } = &self;
        let (shared, slot) = (shared.clone(), wanted.slot().clone());
        let mut backoff = Backoff::default();
        let mut refused = Arc::new(Refused::default());
        while shared.tasks.phase() < Phase::Draining && *self.wish.borrow() == Wish::Keep {
            let target = Arc::new(Target::new(slot.upstream.clone(), slot.to));
            let next = match target.dial(&shared).await {
                Ok(dialled) => self.run(&target, dialled, &mut backoff, &mut refused).await,
                Err(error) => {
                    tracing::warn!(upstream = %target, %error, "cannot dial the listening peer");
                    self.wanted.ended();
                    self.ended.notify_one();
                    Next::After(backoff.next(shared.random()))
                }
            };
            if let Next::After(wait) = next {
                tracing::debug!(upstream = %target, ?wait, "waiting before the next dial");
            }
            let wanted = &self.wanted;
            let waiting = async {
                match next {
                    Next::AtOnce => {}
                    Next::After(wait) => sleep(wait).await,
                    Next::Alias(hub) => wanted.until_free(&hub).await,
                    Next::Never => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Draining) => {}
                Ok(()) = self.wish.changed() => {}
                () = waiting => {}
            }
        }
    }

    /// Runs the link that was dialled until it ends.
    async fn run(
        &mut self,
        target: &Arc<Target>,
        dialled: DialledPeer<N>,
        backoff: &mut Backoff,
        refused: &mut Arc<Refused>,
    ) -> Next {
        let Self { shared, wanted, wish, ended: ended_too } = self;
        let upstream = &target.upstream;
        let takes_leave = shared.tasks.takes_leave();
        let began = Instant::now();
        let (of_wanted, of_refused) = (wanted.clone(), refused.clone());
        let mut link = Link::new(shared.clone(), of_wanted, target.clone(), dialled, of_refused);
        let ended = link.run(wish.clone()).await;
        if matches!(ended, Ended::Redial) {
            tracing::info!(upstream = %target, "another process of the listening peer takes connections now; opening a link to it");
            link.goes_on_beside();
            let beside = Beside { shared: shared.clone(), target: target.clone(), link };
            let wish = wish.clone();
            shared.spawn(async move {
                beside.serve(wish).await;
                drop(takes_leave);
            });
            return Next::AtOnce;
        }
        wanted.ended();
        if shared.hubs.closed(&target.as_hub()) {
            shared.mesh.upstream_closed();
        }
        let said = link.said();
        link.take_leave(&ended).await;
        ended_too.notify_one();
        backoff.link_ended(began.elapsed());
        if ended.is_replaced() {
            // By another link of this process, perhaps, which has yet to hear who answers.
            sleep(BACKOFF_BASE / 2).await;
        }
        let alias = target.hub().filter(|hub| ended.is_replaced() && wanted.is_elsewhere(hub));
        if let Some(hub) = alias {
            tracing::info!(upstream = %target, %hub, "this address leads to a peer that another link holds; waiting until that ends");
            return Next::Alias(hub.clone());
        }
        match &ended {
            Ended::SameAgain(hub) => {
                if shared.may_log(upstream, Incident::SamePeer) {
                    let held = wanted.of_upstream();
                    tracing::warn!(upstream = %target, %hub, held, "there are fewer different peers behind this address than links to keep, or its balancer does not take turns; dialling again");
                }
                return Next::After(backoff.next(shared.random()));
            }
            Ended::Itself => {
                tracing::info!(upstream = %target, "this address leads to this very peer; no link is kept to it");
                // Behind a balancer, the next dial may reach another peer.
                return match target.to {
                    To::Address(_) => {
                        wanted.leads_nowhere();
                        Next::Never
                    }
                    To::Behind(_) => Next::After(backoff.next(shared.random())),
                };
            }
            ended if ended.is_replaced() => {
                shared.metrics.client_replaced(upstream);
                let wait = backoff.replaced(shared.random());
                tracing::warn!(upstream = %target, ?wait, "link down: another process connected under the peer id of this one; give each its own --instance or --peer-id");
                return Next::After(wait);
            }
            ended => tracing::warn!(upstream = %target, reason = %ended, "link down"),
        }
        let learned = Arc::make_mut(refused).learn(shared, upstream, &ended, said);
        // What is left of the names is asked for at once, and so is what has become permitted.
        if learned || matches!(ended, Ended::Outgrown) {
            return Next::AtOnce;
        }
        Next::After(backoff.next(shared.random()))
    }
}

/// A link to a process of a listening peer in whose place another one takes connections.
struct Beside<N: Net> {
    shared: Arc<Shared<N>>,
    target: Arc<Target>,
    link: Link<N>,
}

impl<N: Net> Beside<N> {
    /// Serves what still comes through it, until that process ends.
    async fn serve(self, wish: watch::Receiver<Wish>) {
        let Self { shared, target, mut link } = self;
        let ended = link.run(wish).await;
        if shared.hubs.closed(&target.as_hub()) {
            shared.mesh.upstream_closed();
        }
        link.take_leave(&ended).await;
        tracing::info!(upstream = %target, reason = %ended, "the link to the process before has ended");
    }
}
