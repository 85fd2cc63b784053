//! Who owns the tasks of a peer, and how they are told to end.
//!
//! Every task is spawned on [`Tasks`] and ends with it. A panic ends its own task
//! only: it is counted and logged where it happens. What the peer cannot do
//! without, such as accepting and keeping its links, restarts. A panic that left
//! half changed what all tasks need ends the peer.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Poll, Waker};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::limits::TASK_RESTART_WAIT;
use crate::lock::{Lock, Poisoned};
use crate::observe::metrics::Metrics;
use crate::workers::{Load, Place, Workers};

/// The life of a peer. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting, connecting, serving.
    Serving,
    /// Names are withdrawn; running requests go on.
    Draining,
    /// No new request is taken; running ones go on.
    Finishing,
    /// What still runs is cut.
    Closing,
}

/// The tasks of one peer.
#[derive(Debug)]
pub struct Tasks {
    set: Lock<JoinSet<()>>,
    workers: Workers,
    phase: watch::Sender<Phase>,
    /// Whether the phase is [`Phase::Draining`] or later; read at every wake of a
    /// conversation, and so is the next.
    is_draining: AtomicBool,
    /// Whether the phase is [`Phase::Finishing`] or later.
    is_finishing: AtomicBool,
    /// Says so to who waits for this phase.
    finishing: watch::Sender<()>,
    /// Whether the phase is [`Phase::Closing`]; read at every wake of a relay.
    is_closing: AtomicBool,
    /// Says so to who waits for this and for no earlier phase.
    closing: watch::Sender<()>,
    busy: watch::Sender<usize>,
    links: watch::Sender<usize>,
    panics: Panics,
}

/// Held while a request is served, on either side, or by a link; the end of the peer waits
/// for all.
#[derive(Debug)]
pub struct Busy(watch::Sender<usize>);

impl Tasks {
    /// None yet; those of connections will run on `workers`, if there are any.
    pub fn new(metrics: Arc<Metrics>, workers: Workers) -> Self {
        Self {
            set: Lock::new("the set of tasks", JoinSet::new()),
            workers,
            phase: watch::Sender::new(Phase::Serving),
            is_draining: AtomicBool::new(false),
            is_finishing: AtomicBool::new(false),
            finishing: watch::Sender::new(()),
            is_closing: AtomicBool::new(false),
            closing: watch::Sender::new(()),
            busy: watch::Sender::new(0),
            links: watch::Sender::new(0),
            panics: Panics { metrics, poisoned: watch::Sender::new(None) },
        }
    }

    /// Who runs the tasks of connections.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Runs a task where the caller runs, until it ends or the peer does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.add(Place::here(), self.guarded(task, None));
    }

    /// Runs the task of a connection there, until it ends or the peer does.
    pub fn spawn_at(&self, place: Place, task: impl Future<Output = ()> + Send + 'static) {
        self.add(place, self.guarded(task, self.workers.busy(place)));
    }

    /// As [`spawn_at`](Self::spawn_at), of a connection that waits for requests there.
    pub fn spawn_in_reserve(&self, place: Place, task: impl Future<Output = ()> + Send + 'static) {
        self.add(place, self.guarded(task, self.workers.in_reserve(place)));
    }

    /// A connection that waited here is served until this is dropped.
    pub fn busy_here(&self) -> Option<Load> {
        self.workers.busy(Place::here())
    }

    /// Runs the task that `begin` makes there until it ends or the peer does, and makes
    /// it again after a panic: for what the peer cannot do without. The log says `what`
    /// that is.
    pub fn keep_at<F>(
        &self,
        place: Place,
        what: &'static str,
        begin: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.panics.clone();
        self.add(place, async move {
            while let Err(Ended::Panicked) = panics.caught(Box::pin(begin())).await {
                tracing::error!(what, "a task panicked; it will be restarted; please report it");
                sleep(TASK_RESTART_WAIT).await;
            }
        });
    }

    /// Returns once a task has met what a panic left half changed and all of them
    /// need: the peer is to end.
    pub async fn poisoned(&self) -> Poisoned {
        let mut watcher = self.panics.poisoned.subscribe();
        let met = watcher.wait_for(Option::is_some).await;
        met.ok().and_then(|met| *met).expect("the sender is ours, and this waited for one")
    }

    /// `task`, of which a panic is the end and no more, and which weighs on its worker.
    fn guarded(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        load: Option<Load>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let panics = self.panics.clone();
        // Boxed, or the wrapper would hold the task twice over: as captured and as
        // pinned. Idle connections are many.
        let task = Box::pin(task);
        async move {
            if let Err(Ended::Panicked) = panics.caught(task).await {
                tracing::error!("a task panicked; its connection was closed; please report it");
            }
            drop(load);
        }
    }

    fn add(&self, place: Place, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock();
        while set.try_join_next().is_some() {}
        match self.workers.runtime(place) {
            Some(runtime) => set.spawn_on(task, runtime),
            None => set.spawn(task),
        };
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on to `phase`; never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = *now < phase;
            *now = phase.max(*now);
            forward
        });
        if phase >= Phase::Draining {
            self.is_draining.store(true, Release);
        }
        if phase >= Phase::Finishing {
            self.is_finishing.store(true, Release);
            self.finishing.send_replace(());
        }
        if phase == Phase::Closing {
            self.is_closing.store(true, Release);
            self.closing.send_replace(());
        }
    }

    /// Returns once `phase` or a later one has been entered.
    pub async fn entered(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        // The sender is ours and outlives the wait.
        let _ = watcher.wait_for(|now| *now >= phase).await;
    }

    /// What `work` ends with, or `None` when [`Phase::Closing`] cuts it. Waiting for
    /// the phase costs one load each time that `work` is woken, and no lock.
    pub async fn until_closing<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut closing = self.closing.subscribe();
        self.unless_closing(work, async { drop(closing.changed().await) }).await
    }

    /// As [`until_closing`](Self::until_closing); `work` is also woken when
    /// [`Phase::Finishing`] is entered or there is `news`, and finds [that](Self::is_finishing)
    /// out.
    pub async fn told_to_finish<F: Future>(
        &self,
        work: F,
        news: impl Future<Output = ()>,
    ) -> Option<F::Output> {
        let (mut finishing, mut closing) = (self.finishing.subscribe(), self.closing.subscribe());
        let told = async { drop(tokio::join!(finishing.changed(), closing.changed(), news)) };
        self.unless_closing(work, told).await
    }

    /// Whether [`Phase::Draining`] or a later phase has been entered.
    pub fn is_draining(&self) -> &AtomicBool {
        &self.is_draining
    }

    /// Whether [`Phase::Finishing`] or a later phase has been entered.
    pub fn is_finishing(&self) -> &AtomicBool {
        &self.is_finishing
    }

    /// Polls `told` for the sake of the waker only: the flags tell.
    async fn unless_closing<F: Future>(
        &self,
        work: F,
        told: impl Future<Output = ()>,
    ) -> Option<F::Output> {
        let (mut work, mut told) = (pin!(work), pin!(told));
        let (mut waker, mut is_told): (Option<Waker>, bool) = (None, false);
        poll_fn(|cx| {
            // Before the work looks at a flag, or a change behind its back would wake nobody.
            if !is_told && !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                waker = Some(cx.waker().clone());
                is_told = told.as_mut().poll(cx).is_ready();
            }
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match self.is_closing.load(Acquire) {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Marks the peer busy for as long as the guard lives.
    pub fn busy(&self) -> Busy {
        self.busy.send_modify(|count| *count += 1);
        Busy(self.busy.clone())
    }

    /// Returns once nothing holds a [`Busy`].
    pub async fn idle(&self) {
        let mut watcher = self.busy.subscribe();
        let _ = watcher.wait_for(|count| *count == 0).await;
    }

    /// Held by a link, which has to tell its other end when [`Phase::Closing`] is entered.
    pub fn takes_leave(&self) -> Busy {
        self.links.send_modify(|count| *count += 1);
        Busy(self.links.clone())
    }

    /// Returns once every link has ended.
    pub async fn left(&self) {
        let mut watcher = self.links.subscribe();
        let _ = watcher.wait_for(|count| *count == 0).await;
    }

    /// Ends every task now.
    pub fn abort_all(&self) {
        self.set.lock_to_end().abort_all();
    }
}

/// How a task ended that did not end by itself.
enum Ended {
    /// By a panic of its own, which was counted.
    Panicked,
    /// By what another's panic had left. All tasks end like that: it is said once, by
    /// whoever runs the peer.
    Poisoned,
}

/// What becomes of panics.
#[derive(Debug, Clone)]
struct Panics {
    metrics: Arc<Metrics>,
    poisoned: watch::Sender<Option<Poisoned>>,
}

impl Panics {
    async fn caught<F>(&self, mut task: Pin<Box<F>>) -> Result<(), Ended>
    where
        F: Future<Output = ()>,
    {
        poll_fn(|cx| {
            // The task is not polled again after a panic, so nobody sees what it left
            // half done; what it shares is behind locks of its own.
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                Ok(polled) => polled.map(Ok),
                Err(payload) => Poll::Ready(Err(self.judged(&*payload))),
            }
        })
        .await
    }

    fn judged(&self, payload: &(dyn Any + Send)) -> Ended {
        let Some(poisoned) = payload.downcast_ref::<Poisoned>() else {
            self.metrics.panicked();
            return Ended::Panicked;
        };
        self.poisoned.send_if_modified(|met| {
            let is_first = met.is_none();
            met.get_or_insert(*poisoned);
            is_first
        });
        Ended::Poisoned
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::num::NonZero;

    use tokio::sync::oneshot;

    use super::*;
    use crate::config::PeerConfig;

    fn tasks() -> (Tasks, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(&PeerConfig::new("p".parse().unwrap())));
        (Tasks::new(metrics.clone(), Workers::default()), metrics)
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_task_and_is_counted() {
        let (tasks, metrics) = tasks();
        let busy = tasks.busy();
        tasks.spawn(async move {
            let _busy = busy;
            panic!("on purpose");
        });
        tasks.idle().await;
        assert_eq!(metrics.panic_count(), 1);
        let busy = tasks.busy();
        tasks.spawn(async move { drop(busy) });
        tasks.idle().await;
        assert_eq!(metrics.panic_count(), 1);
    }

    #[tokio::test]
    async fn what_waits_on_a_worker_weighs_nothing_until_it_is_served() {
        let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
        let metrics = Arc::new(Metrics::new(&PeerConfig::new("p".parse().unwrap())));
        let tasks = Arc::new(Tasks::new(metrics, workers.clone()));
        let here = workers.for_dialled();
        let (serve, served) = oneshot::channel();
        let (told, tell) = oneshot::channel();
        let held = tasks.clone();
        tasks.spawn_in_reserve(here, async move {
            let _ = served.await;
            let _busy = held.busy_here();
            let _ = told.send(());
            pending().await
        });
        assert_eq!(workers.for_dialled(), here);
        assert_ne!(workers.for_reserve(), here, "one waits there already");
        serve.send(()).unwrap();
        tell.await.unwrap();
        assert_ne!(workers.for_dialled(), here);
    }

    #[tokio::test]
    async fn work_goes_on_until_it_ends_or_the_peer_closes() {
        let (tasks, _) = tasks();
        assert_eq!(tasks.until_closing(async { 7 }).await, Some(7));
        let cut = tasks.until_closing(std::future::pending::<()>());
        let close = async {
            for phase in [Phase::Draining, Phase::Finishing, Phase::Closing] {
                tokio::task::yield_now().await;
                tasks.enter(phase);
            }
        };
        assert_eq!(tokio::join!(cut, close).0, None);
        assert_eq!(tasks.until_closing(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_task_that_is_kept_restarts_after_a_panic() {
        let (tasks, metrics) = tasks();
        let (begun, mut watcher) = watch::channel(0);
        tasks.keep_at(Place::here(), "a test", move || {
            begun.send_modify(|times| *times += 1);
            let first = *begun.borrow() == 1;
            async move { assert!(!first, "on purpose") }
        });
        watcher.wait_for(|times| *times == 2).await.unwrap();
        assert_eq!(metrics.panic_count(), 1);
        assert!(watcher.changed().await.is_err(), "what ends by itself has ended");
    }

    #[tokio::test]
    async fn a_lock_that_a_panic_left_poisoned_is_reported_by_who_meets_it() {
        let (tasks, metrics) = tasks();
        let lock = Arc::new(Lock::new("the table", ()));
        let (begun, mut watcher) = watch::channel(0);
        let held = lock.clone();
        tasks.spawn(async move {
            let _held = held.lock();
            panic!("on purpose");
        });
        tasks.keep_at(Place::here(), "a test", move || {
            begun.send_modify(|times| *times += 1);
            let lock = lock.clone();
            async move {
                loop {
                    drop(lock.lock());
                    tokio::task::yield_now().await;
                }
            }
        });
        assert_eq!(tasks.poisoned().await, Poisoned("the table"));
        assert_eq!(metrics.panic_count(), 1, "only the first is a panic");
        while watcher.changed().await.is_ok() {}
        assert_eq!(*watcher.borrow(), 1, "it does not restart");
    }

    #[tokio::test]
    async fn the_phase_never_moves_back() {
        let (tasks, _) = tasks();
        tasks.enter(Phase::Closing);
        tasks.enter(Phase::Draining);
        assert_eq!(tasks.phase(), Phase::Closing);
        tasks.entered(Phase::Draining).await;
    }
}
