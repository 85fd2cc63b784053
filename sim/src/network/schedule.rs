//! In which order the tasks of a host run.
//!
//! A runtime polls tasks in the order in which they were woken, in each run the same. Under a
//! schedule, a task has a rank: so many times it lets all others that can run go first. Most
//! tasks keep the rank that they are spawned with; at a few polls, drawn before, the task that
//! runs falls behind all others. That is how PCT finds bugs that need few events in a certain
//! order (Burckhardt et al., ASPLOS 2010). Time stands still meanwhile.
//!
//! All that is drawn follows from one seed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Ranks with which tasks are spawned: below this one.
const RANKS: u32 = 4;
/// At most so many polls from one fall of a task to the next.
const POLLS_BETWEEN_FALLS: u32 = 2_000;
/// So many tasks fall.
const FALLS: u32 = 4;

/// The schedule of one host.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Arc<Mutex<Drawn>>);

#[derive(Debug)]
struct Drawn {
    random: SmallRng,
    /// The rank of the next task that falls.
    lowest: u32,
    until_fall: u32,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let until_fall = random.random_range(1..=POLLS_BETWEEN_FALLS);
        Self(Arc::new(Mutex::new(Drawn { random, lowest: RANKS, until_fall })))
    }

    /// The rank of a new task.
    fn spawned(&self) -> u32 {
        self.drawn().random.random_range(0..RANKS)
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// The rank of a task after a poll.
    fn polled(&self, rank: u32) -> u32 {
        let mut drawn = self.drawn();
        if drawn.lowest == RANKS + FALLS {
            return rank;
        }
        drawn.until_fall -= 1;
        if drawn.until_fall > 0 {
            return rank;
        }
        drawn.until_fall = drawn.random.random_range(1..=POLLS_BETWEEN_FALLS);
        drawn.lowest += 1;
        drawn.lowest
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
}

impl<T> Ordered<T> {
    pub(super) fn new(task: T, schedule: Option<Schedule>) -> Self {
        let rank = schedule.as_ref().map_or(0, Schedule::spawned);
        Self { schedule, task, rank, yields: rank }
    }
}

impl<T: Future + Unpin> Future for Ordered<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        if self.yields > 0 {
            self.yields -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.task).poll(cx);
        if let Some(schedule) = &self.schedule {
            self.rank = schedule.polled(self.rank);
            self.yields = self.rank;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which order eight tasks that are woken together get to run, twice each.
    fn order(schedule: Option<Schedule>) -> Vec<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
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
        let ranks = (0..POLLS_BETWEEN_FALLS * 10).map(|_| schedule.polled(0));
        let fallen: Vec<u32> = ranks.filter(|rank| *rank > 0).collect();
        assert_eq!(fallen, [RANKS + 1, RANKS + 2, RANKS + 3, RANKS + 4]);
    }
}
