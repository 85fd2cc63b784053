//! How many idle DATA connections the links keep, and which FORWARDs on them began.
//!
//! Pure. A [`Reserve`] is told what happens to the connections of a link and says
//! how many to dial and to close. A few are always spare. Each FORWARD that found none
//! adds one. Since connections return from their requests, there are soon as many as
//! requests run at a time. Those not needed for a whole period are closed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::limits::{BROKEN_FORWARDS, IDLE_DATA_SPARE};
use crate::names::ProxyId;

/// How many idle DATA connections all links of a peer may keep together. Links share it by
/// use: what one does not need, another may take.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// No more than `most`; 0 keeps none.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0) })
    }

    /// Takes as many as are left, of `wanted`.
    fn take(&self, wanted: usize) -> usize {
        let room = |used: usize| wanted.min(self.most.saturating_sub(used));
        let before = self.used.update(Relaxed, Relaxed, |used| used + room(used));
        room(before)
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Relaxed);
    }
}

/// The idle DATA connections of one link, by number.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Holds `idle` and `dialling` of it.
    budget: Arc<Budget>,
    idle: usize,
    dialling: usize,
    /// FORWARDs that found none, and for which none was dialled yet.
    missed: usize,
    /// The fewest that were idle in this period.
    lowest: usize,
    /// None is dialled for the rest of this period.
    paused: bool,
    /// None is dialled any more: the dial would reach another process.
    is_last: bool,
    /// The link has ended: others have what it held of the budget.
    ended: bool,
}

impl Reserve {
    /// None yet, and never more than the budget has.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            idle: 0,
            dialling: 0,
            missed: 0,
            lowest: 0,
            paused: false,
            is_last: false,
            ended: false,
        }
    }

    /// How many are idle.
    pub(super) fn count(&self) -> usize {
        self.idle
    }

    /// How many are to be dialled now. Each is then [`dialled`](Self::dialled).
    pub(super) fn wanted(&mut self) -> usize {
        let missed = std::mem::take(&mut self.missed);
        if self.paused || self.is_last || self.ended {
            return 0;
        }
        let lacking = IDLE_DATA_SPARE.saturating_sub(self.idle + self.dialling);
        let wanted = self.budget.take(missed.max(lacking));
        self.dialling += wanted;
        wanted
    }

    /// A dial has ended; one that failed is not repeated in this period.
    pub(super) fn dialled(&mut self, is_open: bool) {
        if self.ended {
            return;
        }
        self.dialling -= 1;
        if is_open {
            self.idle += 1;
        } else {
            self.budget.give_back(1);
            self.paused = true;
        }
    }

    /// A FORWARD came on an idle connection.
    pub(super) fn taken(&mut self) {
        if self.ended {
            return;
        }
        self.idle -= 1;
        self.budget.give_back(1);
        self.lowest = self.lowest.min(self.idle);
    }

    /// A request has ended and its connection could carry another. Whether it is
    /// kept.
    pub(super) fn returned(&mut self) -> bool {
        let kept = if self.ended { 0 } else { self.budget.take(1) };
        self.idle += kept;
        kept == 1
    }

    /// A request has ended and its connection with it, by a reset or as bulk: another is
    /// dialled in its place.
    pub(super) fn lost(&mut self) {
        self.missed += 1;
    }

    /// The listening peer closed an idle connection: it does not want it now.
    pub(super) fn refused(&mut self) {
        self.closed();
        self.paused = true;
    }

    /// An idle connection was closed because the period ended.
    pub(super) fn closed(&mut self) {
        self.taken();
    }

    /// A FORWARD came down the link, for none was idle.
    pub(super) fn missed(&mut self) {
        self.missed += 1;
    }

    /// From now on none is dialled; those that are there are used on.
    pub(super) fn dial_no_more(&mut self) {
        self.is_last = true;
    }

    /// The link has ended. Requests may still run on its connections.
    pub(super) fn end(&mut self) {
        self.budget.give_back(self.idle + self.dialling);
        (self.idle, self.dialling, self.ended) = (0, 0, true);
    }

    /// A period has ended. How many idle connections are to be closed.
    pub(super) fn next_period(&mut self) -> usize {
        let surplus = self.lowest.saturating_sub(IDLE_DATA_SPARE);
        self.lowest = self.idle;
        self.paused = false;
        surplus
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.end();
    }
}

/// FORWARDs that arrived on idle DATA connections. A listening peer whose connection
/// broke sends the same id on the link; what may have reached the backend is not
/// served again.
#[derive(Debug, Default)]
pub(super) struct Begun {
    running: BTreeMap<ProxyId, Stage>,
    /// Those whose connection broke, the last ones.
    broken: VecDeque<ProxyId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    Answered,
}

/// What to do with a FORWARD from the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FromLink {
    /// It is new here.
    Serve,
    /// Its answer is still to come, where it came first.
    Ignore,
    /// Its bytes may have reached the backend.
    Refuse,
}

impl Begun {
    /// A FORWARD came on an idle connection. Whether it is to be served.
    pub(super) fn begin(&mut self, id: ProxyId) -> bool {
        let is_new = !self.running.contains_key(&id) && !self.broken.contains(&id);
        if is_new {
            self.running.insert(id, Stage::Dialling);
        }
        is_new
    }

    /// DATA was its answer.
    pub(super) fn answered(&mut self, id: ProxyId) {
        self.running.insert(id, Stage::Answered);
    }

    /// It has ended; `cleanly`, when the listening peer has seen its end.
    pub(super) fn ended(&mut self, id: ProxyId, cleanly: bool) {
        self.running.remove(&id);
        if !cleanly {
            if self.broken.len() == BROKEN_FORWARDS {
                self.broken.pop_front();
            }
            self.broken.push_back(id);
        }
    }

    /// A FORWARD came down the link.
    pub(super) fn on_link(&self, id: ProxyId) -> FromLink {
        match self.running.get(&id) {
            Some(Stage::Dialling) => FromLink::Ignore,
            Some(Stage::Answered) => FromLink::Refuse,
            None if self.broken.contains(&id) => FromLink::Refuse,
            None => FromLink::Serve,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(most: usize) -> Reserve {
        let mut reserve = Reserve::new(Budget::new(most));
        for _ in 0..reserve.wanted() {
            reserve.dialled(true);
        }
        reserve
    }

    #[test]
    fn a_quiet_link_keeps_the_spare_ones() {
        let mut reserve = filled(64);
        assert_eq!((reserve.idle, reserve.wanted()), (IDLE_DATA_SPARE, 0));
        reserve.taken();
        assert_eq!(reserve.wanted(), 1, "another is dialled behind it");
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let mut reserve = Reserve::new(Budget::new(0));
        reserve.missed();
        assert_eq!((reserve.wanted(), reserve.next_period()), (0, 0));
        assert!(!reserve.returned());
    }

    #[test]
    fn requests_that_find_none_raise_the_number_and_quiet_lowers_it() {
        let mut reserve = filled(16);
        (0..20).for_each(|_| reserve.missed());
        for _ in 0..reserve.wanted() {
            reserve.dialled(true);
        }
        assert_eq!((reserve.idle, reserve.wanted()), (16, 0), "and no more");
        assert_eq!(reserve.next_period(), 0);
        (0..5).for_each(|_| reserve.taken());
        (0..5).for_each(|_| assert!(reserve.returned()));
        assert!(!reserve.returned());
        let surplus = reserve.next_period();
        assert_eq!(surplus, 16 - 5 - IDLE_DATA_SPARE);
        (0..surplus).for_each(|_| reserve.closed());
        let surplus = reserve.next_period();
        (0..surplus).for_each(|_| reserve.closed());
        assert_eq!(reserve.idle, IDLE_DATA_SPARE);
    }

    #[test]
    fn links_share_the_budget_by_use() {
        let budget = Budget::new(5);
        let mut busy = Reserve::new(budget.clone());
        let mut quiet = Reserve::new(budget.clone());
        assert_eq!(quiet.wanted(), IDLE_DATA_SPARE);
        (0..10).for_each(|_| busy.missed());
        assert_eq!(busy.wanted(), 3, "what is left");
        drop(quiet);
        (0..3).for_each(|_| busy.missed());
        assert_eq!(busy.wanted(), 2, "what the other held");
        busy.dialled(true);
        busy.taken();
        busy.end();
        assert_eq!(budget.used.load(Relaxed), 0);
        assert!(!busy.returned(), "whatever still ran on it");
    }

    #[test]
    fn a_connection_that_ends_with_its_request_is_replaced() {
        let mut reserve = filled(64);
        reserve.taken();
        reserve.taken();
        assert_eq!(reserve.wanted(), IDLE_DATA_SPARE);
        (0..IDLE_DATA_SPARE).for_each(|_| reserve.dialled(true));
        reserve.lost();
        assert_eq!(reserve.wanted(), 1);
        reserve.dialled(true);
        assert!(reserve.returned(), "the other one has come back");
        assert_eq!(reserve.wanted(), 0);
    }

    #[test]
    fn what_the_listening_peer_refuses_is_not_dialled_again_at_once() {
        let mut reserve = filled(64);
        reserve.refused();
        assert_eq!(reserve.wanted(), 0);
        reserve.next_period();
        assert_eq!(reserve.wanted(), 1);
        reserve.dialled(false);
        assert_eq!(reserve.wanted(), 0);
    }

    #[test]
    fn a_forward_that_broke_is_not_served_again() {
        let id = |n: u128| ProxyId::from_random(n.to_be_bytes());
        let mut begun = Begun::default();
        assert_eq!(begun.on_link(id(1)), FromLink::Serve);
        assert!(begun.begin(id(1)));
        assert!(!begun.begin(id(1)));
        assert_eq!(begun.on_link(id(1)), FromLink::Ignore);
        begun.answered(id(1));
        assert_eq!(begun.on_link(id(1)), FromLink::Refuse);
        begun.ended(id(1), false);
        assert_eq!(begun.on_link(id(1)), FromLink::Refuse);
        assert!(!begun.begin(id(1)));
        assert!(begun.begin(id(2)));
        begun.ended(id(2), true);
        assert_eq!(begun.on_link(id(2)), FromLink::Serve);
    }

    proptest! {
        /// Whatever happens, no more are kept than may be, and the numbers add up.
        #[test]
        fn the_numbers_add_up(most in 0..20_usize, steps in prop::collection::vec(0..7_u8, 0..200)) {
            let mut reserve = Reserve::new(Budget::new(most));
            let (mut dialling, mut in_use) = (0, 0);
            for step in steps {
                match step {
                    0 => dialling += reserve.wanted(),
                    1 | 2 if dialling > 0 => {
                        dialling -= 1;
                        reserve.dialled(step == 1);
                    }
                    3 if reserve.idle > 0 => {
                        reserve.taken();
                        in_use += 1;
                    }
                    4 if in_use > 0 => {
                        reserve.returned();
                        in_use -= 1;
                    }
                    5 => reserve.missed(),
                    6 => {
                        let surplus = reserve.next_period();
                        prop_assert!(surplus <= reserve.idle);
                        (0..surplus).for_each(|_| reserve.closed());
                    }
                    _ => {}
                }
                prop_assert_eq!(reserve.dialling, dialling);
                prop_assert!(reserve.lowest <= reserve.idle);
                prop_assert!(reserve.idle + dialling <= most);
                prop_assert_eq!(reserve.budget.used.load(Relaxed), reserve.idle + dialling);
            }
        }
    }
}
