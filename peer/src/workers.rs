//! Threads that keep what they are given.
//!
//! The tasks of a connection, and the sockets that they wait on, stay on one worker. A task that
//! moves takes its data from the cache of one core to that of another, and wakes a thread there:
//! see "Laboratory" in docs/performance.md. What a peer does by itself runs on the runtime that
//! started it, which moves tasks about as it likes: links that it opens, ports of UDP, the admin
//! server, checks.
//!
//! A peer may have no workers: then all tasks run where they are spawned.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::limits::ACCEPTING_WORKERS;

thread_local! {
    static HERE: Cell<Place> = const { Cell::new(Place(None)) };
}

/// Where a task runs, and where a socket is watched: on a worker, or on none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Option<u16>);

impl Place {
    /// The worker with this number.
    #[cfg(test)]
    pub(crate) fn worker(number: u16) -> Self {
        Self(Some(number))
    }

    /// Where the caller runs.
    pub fn here() -> Self {
        HERE.get()
    }
}

/// The workers of a peer. They end with the last of these and with what they are given.
#[derive(Debug, Clone, Default)]
pub struct Workers(Arc<[Worker]>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections that it serves now.
    busy: Arc<AtomicUsize>,
    /// Connections that it keeps for requests to come, or that were kept for theirs.
    reserve: Arc<AtomicUsize>,
    /// Dropped, it tells the thread to end.
    _stop: oneshot::Sender<()>,
}

/// Connections that a worker may have more than the least busy one, beside a quarter of those. None,
/// while that has nothing at all to do.
const SLACK: usize = 4;

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// The system's own, when it gives no thread, or none of what a thread waits with.
    pub fn start(count: NonZero<u16>) -> io::Result<Self> {
        (0..count.get()).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that accept connections, each by itself: not more than a few, since all are woken for
    /// each connection while they have nothing else to do.
    pub fn accepting(&self) -> Vec<Place> {
        match self.0.len().min(ACCEPTING_WORKERS) {
            0 => vec![Place::default()],
            some => self.places().take(some).collect(),
        }
    }

    /// Where a connection is served that was accepted here: here, unless this worker has more than
    /// its share.
    pub fn for_accepted(&self) -> Place {
        self.chosen(Place::here().0)
    }

    /// Where a connection is served that is to be dialled for a request.
    pub fn for_dialled(&self) -> Place {
        self.chosen(None)
    }

    /// Where a connection is kept that is to be dialled for requests to come: with the fewest of
    /// these. If they weighed like those that are served, and each request that found none had
    /// another dialled for the next, then all that are served would come to one of two workers, and
    /// all that wait to the other.
    pub fn for_reserve(&self) -> Place {
        let loads = self.0.iter().map(|worker| worker.reserve.load(Relaxed));
        self.place(chosen(loads.enumerate(), None))
    }

    /// Returns once each of them has got round to saying so: never, while one is stuck in what it
    /// does, or once its thread has died.
    pub async fn answered(&self) {
        for worker in &*self.0 {
            if worker.runtime.spawn(async {}).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// The runtime of a worker; none if that is no place of these.
    pub(crate) fn runtime(&self, place: Place) -> Option<&Handle> {
        self.worker(place).map(|worker| &worker.runtime)
    }

    /// One connection more is served there, until this is dropped; none, if that is no place of
    /// these.
    pub fn busy(&self, place: Place) -> Option<Load> {
        self.worker(place).map(|worker| Load::one_more(&worker.busy))
    }

    /// One connection more is kept there for requests to come, as above.
    pub fn in_reserve(&self, place: Place) -> Option<Load> {
        self.worker(place).map(|worker| Load::one_more(&worker.reserve))
    }

    fn chosen(&self, here: Option<u16>) -> Place {
        let loads = self.0.iter().map(|worker| worker.busy.load(Relaxed));
        self.place(chosen(loads.enumerate(), here.map(usize::from)))
    }

    fn place(&self, index: Option<usize>) -> Place {
        self.places().nth(index.unwrap_or(usize::MAX)).unwrap_or_default()
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        (0..).zip(&*self.0).map(|(index, _)| Place(Some(index)))
    }

    fn worker(&self, place: Place) -> Option<&Worker> {
        self.0.get(usize::from(place.0?))
    }
}

/// Where a connection goes, of workers with these loads: `here`, if that is one of them and has not
/// far more than another, or where there are fewest.
fn chosen(
    loads: impl Iterator<Item = (usize, usize)> + Clone,
    here: Option<usize>,
) -> Option<usize> {
    let (least, fewest) = loads.clone().min_by_key(|(_, load)| *load)?;
    let most = if fewest == 0 { 0 } else { fewest + fewest / 4 + SLACK };
    let stays = loads.clone().any(|(index, load)| Some(index) == here && load <= most);
    Some(if stays { here? } else { least })
}

impl Worker {
    fn start(index: u16) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(format!("worker {index}")).spawn(move || {
            HERE.set(Place(Some(index)));
            // That nobody holds the other end any more is what it waits for.
            let _ = runtime.block_on(stopped);
            // A resolver that hangs must not hold it up.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, busy: Arc::default(), reserve: Arc::default(), _stop: stop })
    }
}

/// A connection that a worker has been given, until dropped. Small, for idle connections are many.
#[derive(Debug)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    fn one_more(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Relaxed);
        Self(load.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn of(loads: &[usize], here: Option<usize>) -> Option<usize> {
        chosen(loads.iter().copied().enumerate(), here)
    }

    #[test]
    fn a_connection_stays_where_it_was_accepted_unless_others_have_far_fewer() {
        assert_eq!(of(&[1, 1 + SLACK], Some(1)), Some(1));
        assert_eq!(of(&[1, 2 + SLACK], Some(1)), Some(0));
        assert_eq!(of(&[100, 125 + SLACK], Some(1)), Some(1));
        assert_eq!(of(&[100, 126 + SLACK], Some(1)), Some(0));
    }

    #[test]
    fn no_core_is_idle_while_another_has_connections() {
        assert_eq!(of(&[0, 0], Some(1)), Some(1));
        assert_eq!(of(&[0, 1], Some(1)), Some(0));
    }

    #[test]
    fn one_that_is_dialled_goes_where_fewest_are() {
        assert_eq!(of(&[2, 1, 1], None), Some(1));
        assert_eq!(of(&[], None), None);
    }

    #[test]
    fn what_is_kept_for_later_does_not_crowd_out_what_is_served() {
        let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
        let (mut kept, mut served) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let place = workers.for_reserve();
            kept.push((place, workers.in_reserve(place)));
            let place = workers.for_dialled();
            served.push((place, workers.busy(place)));
        }
        for all in [kept, served] {
            let first = all.iter().filter(|(place, _)| *place == Place::worker(0)).count();
            assert_eq!(first, 5, "{all:?}");
        }
    }

    #[test]
    fn a_worker_keeps_what_it_was_given_and_is_rid_of_it_with_its_end() {
        let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
        let places = workers.accepting();
        assert_eq!(places.len(), 2);
        for place in places {
            let load = workers.busy(place);
            assert_ne!(workers.for_dialled(), place, "the other has fewer");
            let (told, tell) = std::sync::mpsc::channel();
            workers.runtime(place).unwrap().spawn(async move { told.send(Place::here()) });
            assert_eq!(tell.recv().unwrap(), place);
            drop(load);
        }
        assert_eq!(Place::here(), Place::default(), "no worker has started a test");
    }

    #[tokio::test]
    async fn one_that_is_stuck_does_not_answer() {
        let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
        for place in workers.accepting() {
            workers.answered().await;
            let (release, released) = std::sync::mpsc::channel::<()>();
            let stuck = workers.runtime(place).unwrap().spawn(async move { released.recv() });
            let answered = timeout(Duration::from_millis(50), workers.answered()).await;
            assert!(answered.is_err(), "{place:?}");
            release.send(()).unwrap();
            stuck.await.unwrap().unwrap();
        }
    }

    #[test]
    fn without_workers_there_is_one_place() {
        let none = Workers::default();
        assert_eq!(none.accepting(), [Place::default()]);
        assert_eq!(none.for_accepted(), Place::default());
        assert!(none.runtime(Place::default()).is_none());
    }
}
