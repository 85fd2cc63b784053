//! In which order the tasks of a host run.
//!
//! A runtime polls tasks in the order in which they were woken, in each run the same. Under a
//! schedule, a task has a rank: so many times it lets all others that can run go first. Most
//! tasks keep the rank that they are spawned with; at a few polls, drawn before, the task that
//! runs falls behind all others. That is how PCT finds bugs that need few events in a certain
//! order (Burckhardt et al., ASPLOS 2010). Time stands still meanwhile.
//!
//! Now and then a task also stands still for some time, as one does whose thread is not run:
//! what the network brings meanwhile comes before what it was about to do. And a stream may
//! have nothing for a moment, give less than has come, and take less than it could: so a task
//! is stopped in the middle of what it does with it. Bulk may find a small pipe, or none.
//!
//! All that is drawn follows from one seed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ops_proxy::limits::PIPE_BYTES;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Sleep;

/// Ranks with which tasks are spawned: below this one.
const RANKS: u32 = 4;
/// At most so many polls from one fall of a task to the next.
const POLLS_BETWEEN_FALLS: u32 = 2_000;
/// So many tasks fall.
const FALLS: u32 = 4;
/// At most so many polls from one pause of a task to the next.
const POLLS_BETWEEN_PAUSES: u32 = 400;
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
/// One of so many turns at a stream is lost, one of so many is cut short, and one of so many
/// times there is no pipe.
const LOST_TURNS: u32 = 8;
/// The pipes of a host are at most so many times half as large as they could be.
const SMALLEST_PIPE: u32 = 7;

/// The schedule of one host.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Arc<Mutex<Drawn>>);

#[derive(Debug)]
struct Drawn {
    random: SmallRng,
    /// The rank of the next task that falls.
    lowest: u32,
    until_fall: u32,
    until_pause: u32,
    /// What a pipe of the host holds.
    pipe_bytes: usize,
}

/// What a poll has brought a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    rank: u32,
    pause: Option<Duration>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let until_fall = random.random_range(1..=POLLS_BETWEEN_FALLS);
        let until_pause = random.random_range(1..=POLLS_BETWEEN_PAUSES);
        let smaller = if random.random() { 0 } else { random.random_range(0..=SMALLEST_PIPE) };
        let pipe_bytes = PIPE_BYTES >> smaller;
        let drawn = Drawn { random, lowest: RANKS, until_fall, until_pause, pipe_bytes };
        Self(Arc::new(Mutex::new(drawn)))
    }

    /// The rank of a new task.
    fn spawned(&self) -> u32 {
        self.drawn().random.random_range(0..RANKS)
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// What becomes of a task of this rank after a poll.
    fn polled(&self, rank: u32) -> Fate {
        let mut drawn = self.drawn();
        Fate { pause: drawn.pause(), rank: drawn.rank(rank) }
    }

    /// Whether whoever asks a stream for something is put off to his next turn.
    pub(super) fn loses_turn(&self) -> bool {
        self.drawn().random.random_ratio(1, LOST_TURNS)
    }

    /// How many bytes a stream gives or takes at once where it could more: fewer than so many,
    /// and one at least. `None` if it is not cut short.
    pub(super) fn cut(&self, bytes: usize) -> Option<usize> {
        let random = &mut self.drawn().random;
        (bytes > 1 && random.random_ratio(1, LOST_TURNS)).then(|| random.random_range(1..bytes))
    }

    /// How many bytes a pipe holds; `None` if there is none to be had now.
    pub(super) fn pipe_bytes(&self) -> Option<usize> {
        let mut drawn = self.drawn();
        drawn.has_pipe().then_some(drawn.pipe_bytes)
    }
}

impl Drawn {
    fn has_pipe(&mut self) -> bool {
        !self.random.random_ratio(1, LOST_TURNS)
    }

    fn rank(&mut self, rank: u32) -> u32 {
        if self.lowest == RANKS + FALLS {
            return rank;
        }
        self.until_fall -= 1;
        if self.until_fall > 0 {
            return rank;
        }
        self.until_fall = self.random.random_range(1..=POLLS_BETWEEN_FALLS);
        self.lowest += 1;
        self.lowest
    }

    fn pause(&mut self) -> Option<Duration> {
        self.until_pause -= 1;
        if self.until_pause > 0 {
            return None;
        }
        self.until_pause = self.random.random_range(1..=POLLS_BETWEEN_PAUSES);
        Some(self.random.random_range(Duration::ZERO..LONGEST_PAUSE))
    }
}

/// A task under a schedule; without one, as the runtime has it.
#[derive(Debug)]
pub(super) struct Ordered<T> {
    schedule: Option<Schedule>,
    task: T,
    rank: u32,
    /// How often it still lets others go first.
    yields: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<T> Ordered<T> {
    pub(super) fn new(task: T, schedule: Option<Schedule>) -> Self {
        let rank = schedule.as_ref().map_or(0, Schedule::spawned);
        Self { schedule, task, rank, yields: rank, pause: None }
    }
}

impl<T: Future + Unpin> Future for Ordered<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if self.yields > 0 {
            self.yields -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.task).poll(cx);
        if let Some(schedule) = &self.schedule {
            let Fate { rank, pause } = schedule.polled(self.rank);
            (self.rank, self.yields) = (rank, rank);
            self.pause = pause.map(|pause| Box::pin(tokio::time::sleep(pause)));
            if self.pause.is_some() && polled.is_pending() {
                // Whatever wakes it meanwhile, it goes on when that is over.
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which order eight tasks that are woken together get to run, twice each.
    fn order(schedule: Option<Schedule>) -> Vec<usize> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        let ran = Arc::new(Mutex::new(Vec::new()));
        runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for number in 0..8 {
                let ran = ran.clone();
                let task = async move {
                    for _ in 0..2 {
                        ran.lock().expect("no panic").push(number);
                        tokio::task::yield_now().await;
                    }
                };
                set.spawn(Ordered::new(Box::pin(task), schedule.clone()));
            }
            while set.join_next().await.is_some() {}
        });
        Arc::into_inner(ran).expect("all tasks have ended").into_inner().expect("no panic")
    }

    #[test]
    fn a_seed_is_an_order_and_all_tasks_run() {
        let under = |seed| order(Some(Schedule::new(seed)));
        assert_eq!(order(None)[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        let orders: std::collections::BTreeSet<_> = (0..20).map(under).collect();
        assert!(orders.len() > 10, "20 seeds give {} orders", orders.len());
        for seed in 0..20 {
            assert_eq!(under(seed), under(seed), "the seed tells all");
            let mut all = under(seed);
            all.sort_unstable();
            assert_eq!(all, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]);
        }
    }

    #[test]
    fn few_tasks_fall_behind_all_others() {
        let schedule = Schedule::new(7);
        let ranks = (0..POLLS_BETWEEN_FALLS * 10).map(|_| schedule.polled(0).rank);
        let fallen: Vec<u32> = ranks.filter(|rank| *rank > 0).collect();
        assert_eq!(fallen, [RANKS + 1, RANKS + 2, RANKS + 3, RANKS + 4]);
    }

    #[test]
    fn now_and_then_a_task_stands_still() {
        let schedule = Schedule::new(7);
        let pauses = (0..POLLS_BETWEEN_PAUSES * 10).filter_map(|_| schedule.polled(0).pause);
        let pauses: Vec<Duration> = pauses.collect();
        assert!((10..100).contains(&pauses.len()), "{} pauses", pauses.len());
        assert!(pauses.iter().all(|pause| *pause < LONGEST_PAUSE));
    }

    #[test]
    fn a_pause_lasts_however_often_the_task_is_woken() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let began = tokio::time::Instant::now();
            let mut polls = Vec::new();
            let task = std::future::poll_fn(|cx| {
                polls.push(began.elapsed());
                cx.waker().wake_by_ref();
                if polls.len() < 1_000 { Poll::Pending } else { Poll::Ready(()) }
            });
            Ordered::new(Box::pin(task), Some(Schedule::new(7))).await;
            let all = began.elapsed();
            assert!(all > Duration::from_millis(10) && all < LONGEST_PAUSE * 1_000, "{all:?}");
            polls.dedup();
            assert!(polls.len() < 100, "time passes in pauses alone");
        });
    }

    #[test]
    fn some_hosts_have_small_pipes_and_now_and_then_there_is_none() {
        let schedules = (0..200).map(Schedule::new);
        let sizes: std::collections::BTreeSet<_> = schedules
            .map(|schedule| {
                let lent: Vec<_> = (0..100).filter_map(|_| schedule.pipe_bytes()).collect();
                assert!((60..100).contains(&lent.len()), "{} of 100 times", lent.len());
                assert!(lent.iter().all(|bytes| *bytes == lent[0]), "{lent:?}");
                lent[0]
            })
            .collect();
        assert_eq!(sizes.first(), Some(&(PIPE_BYTES >> SMALLEST_PIPE)));
        assert_eq!(sizes.last(), Some(&PIPE_BYTES));
    }

    #[test]
    fn a_cut_is_within_what_is_there() {
        let schedule = Schedule::new(7);
        for bytes in [0, 1, 2, 1_000] {
            let cuts: Vec<usize> = (0..1_000).filter_map(|_| schedule.cut(bytes)).collect();
            assert!(cuts.iter().all(|cut| (1..bytes).contains(cut)), "{cuts:?} of {bytes}");
            assert_eq!(cuts.is_empty(), bytes < 2, "{bytes}");
            assert!(cuts.len() < 500, "most are not cut");
        }
    }
}
