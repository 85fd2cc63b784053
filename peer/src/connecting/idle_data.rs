//! The idle DATA connections that the connecting side keeps for one link. Each is
//! dialled in advance and has a task that waits for FORWARD, serves it in place, and
//! waits again.
//!
//! [`reserve`](super::reserve) decides how many there are.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, watch};

use super::reserve::{Begun, Budget, FromLink, Reserve};
use super::serve::{Active, NotServed, Serving, counted};
use crate::names::ProxyId;
use crate::observe::metrics::{ClientFailure, Metrics};
use crate::shared::Shared;
use crate::stream::control::{ControlError, first_line};
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::trust::Token;
use crate::upstream::{DialPeerError, Target};
use crate::wire::{FailReason, Line, LineBuffer};

/// The idle DATA connections of one link. They end when it is dropped.
pub(super) struct IdleData<N: Net> {
    pool: Arc<Pool<N>>,
    /// Dropped with the link.
    _open: watch::Sender<()>,
    ended: watch::Receiver<()>,
}

struct Pool<N: Net> {
    shared: Arc<Shared<N>>,
    target: Arc<Target>,
    /// One for each request that the link may still carry.
    slots: Arc<Semaphore>,
    reserve: Mutex<Reserve>,
    begun: Mutex<Begun>,
    /// Wakes the one that waits longest, to be closed.
    surplus: Notify,
}

impl<N: Net> IdleData<N> {
    /// None yet, for a link to `target` that may carry as many requests as there
    /// are `slots`.
    pub(super) fn new(
        shared: Arc<Shared<N>>,
        target: Arc<Target>,
        slots: Arc<Semaphore>,
        budget: Arc<Budget>,
    ) -> Self {
        let reserve = Mutex::new(Reserve::new(budget));
        let (begun, surplus) = (Mutex::default(), Notify::new());
        let (open, ended) = watch::channel(());
        let pool = Arc::new(Pool { shared, target, slots, reserve, begun, surplus });
        Self { pool, _open: open, ended }
    }

    /// The link is up: dials what is wanted.
    pub(super) fn replenish(&self) {
        self.pool.replenish(&self.ended);
    }

    /// How many wait for a request.
    pub(super) fn count(&self) -> usize {
        self.pool.reserve().count()
    }

    /// A FORWARD came down the link: what is to be done with it.
    pub(super) fn missed(&self, id: ProxyId) -> FromLink {
        self.pool.reserve().missed();
        self.replenish();
        self.pool.begun().on_link(id)
    }

    /// From now on none is dialled: the dial would reach another process.
    pub(super) fn dial_no_more(&self) {
        self.pool.reserve().dial_no_more();
    }

    /// Those that are idle were dialled with what is good no longer.
    pub(super) fn redial(&self) {
        self.pool.surplus.notify_waiters();
    }

    /// Adapts the number to what was needed since this was called last.
    pub(super) fn next_period(&self) {
        let surplus = self.pool.reserve().next_period();
        for _ in 0..surplus {
            self.pool.surplus.notify_one();
        }
        self.replenish();
    }
}

impl<N: Net> Drop for IdleData<N> {
    fn drop(&mut self) {
        self.pool.reserve().end();
    }
}

impl<N: Net> Pool<N> {
    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().expect("counting does not panic")
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().expect("noting does not panic")
    }

    fn replenish(self: &Arc<Self>, ended: &watch::Receiver<()>) {
        if self.shared.tasks.phase() >= Phase::Draining {
            return;
        }
        let wanted = self.reserve().wanted();
        for _ in 0..wanted {
            let (pool, ended) = (self.clone(), ended.clone());
            let place = self.shared.tasks.workers().for_reserve();
            self.shared.spawn_in_reserve(place, async move { pool.keep(ended).await });
        }
    }

    /// Dials one and keeps it for as long as it is usable.
    async fn keep(self: Arc<Self>, mut ended: watch::Receiver<()>) {
        let dialled = tokio::select! {
            biased;
            _ = ended.changed() => return,
            dialled = self.dial() => dialled,
        };
        self.reserve().dialled(dialled.is_ok());
        let (mut stream, ahead) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                let target = &self.target;
                return tracing::debug!(upstream = %target, %error, "cannot dial an idle DATA connection");
            }
        };
        let mut lines = LineBuffer::starting_with(&ahead);
        while let Some(line) = self.next_line(&mut stream, &mut lines, &mut ended).await {
            let forward = line.and_then(|line| Ok(Line::parse(&line)?));
            let Ok(Line::Forward(id, requested)) = forward else {
                return self.reserve().refused();
            };
            self.reserve().taken();
            self.replenish(&ended);
            let (shared, target) = (self.shared.clone(), self.target.clone());
            let serving = Serving::new(shared, target, id, requested);
            let ahead = std::mem::take(&mut lines).into_rest();
            // Boxed: most of its life, this task waits.
            let served = Box::pin(self.serve(serving, stream, ahead)).await;
            let Some((kept, ahead)) = served else {
                self.reserve().lost();
                return self.replenish(&ended);
            };
            if !self.reserve().returned() {
                return;
            }
            stream = kept;
            lines = LineBuffer::starting_with(&ahead);
        }
    }

    async fn dial(&self) -> Result<(Transport<N::Stream>, Bytes), DialPeerError> {
        let peer = &self.shared.peer_id;
        let line = |token: Option<(Token, [u8; 32])>, to| {
            let proof = token.map(|(token, exporter)| token.idle_proof(&exporter, peer));
            Line::DataIdle { peer: peer.clone(), proof, to }
        };
        self.target.dial_data(&self.shared, line).await
    }

    /// The line that an idle connection has waited for; `None` when it is to be closed.
    async fn next_line(
        self: &Arc<Self>,
        stream: &mut Transport<N::Stream>,
        lines: &mut LineBuffer,
        ended: &mut watch::Receiver<()>,
    ) -> Option<Result<Bytes, ControlError>> {
        let _counted = Counted::new(self.shared.metrics.clone());
        tokio::select! {
            biased;
            line = first_line(stream, lines) => Some(line),
            _ = ended.changed() => None,
            () = self.shared.tasks.entered(Phase::Draining) => None,
            () = self.surplus.notified() => {
                self.reserve().closed();
                self.replenish(ended);
                None
            }
        }
    }

    /// Serves a FORWARD in place; returns the connection if it can carry another.
    async fn serve(
        &self,
        serving: Serving<N>,
        stream: Transport<N::Stream>,
        ahead: Bytes,
    ) -> Option<(Transport<N::Stream>, Bytes)> {
        let active = Active::begin(&serving);
        let _busy = (self.shared.tasks.busy(), self.shared.tasks.busy_here());
        let id = serving.id;
        let slot = self.slots.clone().try_acquire_owned();
        if slot.is_err() || !self.begun().begin(id) {
            serving.tell_overloaded();
            active.end(Err(ClientFailure::Overloaded));
            refuse(stream, id, FailReason::Overloaded).await;
            return None;
        }
        let noted = Noted { pool: self, id, cleanly: false };
        let served = serving.in_place(stream, ahead, || self.begun().answered(id)).await;
        active.end(counted(&served));
        match served {
            Ok(kept) => {
                noted.end(true);
                kept
            }
            Err(NotServed { untold, .. }) => {
                if let Some((stream, reason)) = untold {
                    refuse(stream, id, reason).await;
                }
                None
            }
        }
    }
}

/// Answers FORWARD with FAIL, on an idle connection, which that closes.
async fn refuse<S>(stream: Transport<S>, id: ProxyId, reason: FailReason)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let line = format!("{}\n", Line::Fail(id, reason));
    close_after(stream, line.as_bytes()).await;
}

/// Marks a FORWARD as running until dropped.
struct Noted<'a, N: Net> {
    pool: &'a Pool<N>,
    id: ProxyId,
    cleanly: bool,
}

impl<N: Net> Noted<'_, N> {
    fn end(mut self, cleanly: bool) {
        self.cleanly = cleanly;
    }
}

impl<N: Net> Drop for Noted<'_, N> {
    fn drop(&mut self) {
        self.pool.begun().ended(self.id, self.cleanly);
    }
}

/// Counts a connection as idle until dropped.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.client_idle_data(1);
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.client_idle_data(-1);
    }
}
