//! How fast one link may be served.
//!
//! Pure. Lines cost work: a line that names a thousand names costs a thousand times as
//! much as one that names one. A link may spend a burst at once and earns more with time;
//! one that has overspent is not read until it has earned what it owes, and its peer is
//! slowed down by its own socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{LINK_WORK_BURST, LINK_WORK_PER_SECOND};

/// What one link has left to spend.
#[derive(Debug)]
pub(super) struct Pace {
    left: usize,
    at: Instant,
    resumes: Option<Instant>,
}

impl Pace {
    /// Nothing was spent yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: LINK_WORK_BURST, at: now, resumes: None }
    }

    /// A line of this cost was taken.
    pub(super) fn spend(&mut self, cost: usize, now: Instant) {
        let earned = now.duration_since(self.at).as_micros() * LINK_WORK_PER_SECOND as u128;
        let earned = usize::try_from(earned / 1_000_000).unwrap_or(usize::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(LINK_WORK_BURST);
            self.at = now;
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => {
                let owed = (cost - self.left) as f64 / LINK_WORK_PER_SECOND as f64;
                let resumes = now + Duration::from_secs_f64(owed);
                (self.left, self.at, self.resumes) = (0, resumes, Some(resumes));
            }
        }
    }

    /// When the next line may be taken; `None` for now.
    pub(super) fn resumes(&self) -> Option<Instant> {
        self.resumes
    }

    /// That time has come.
    pub(super) fn resumed(&mut self) {
        self.resumes = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits_for_what_it_owes() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.spend(LINK_WORK_BURST, start);
        assert_eq!(pace.resumes(), None);
        pace.spend(LINK_WORK_PER_SECOND, start);
        let second = Duration::from_secs(1);
        assert_eq!(pace.resumes(), Some(start + second));
        pace.resumed();
        pace.spend(LINK_WORK_PER_SECOND, start + 2 * second);
        assert_eq!(pace.resumes(), None, "a second's work was earned since");
        pace.spend(1, start + 2 * second);
        assert!(pace.resumes().is_some());
    }

    #[test]
    fn a_quiet_link_earns_a_burst_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.spend(LINK_WORK_BURST, start);
        let later = start + Duration::from_secs(3600);
        pace.spend(LINK_WORK_BURST, later);
        assert_eq!(pace.resumes(), None);
        pace.spend(1, later);
        assert!(pace.resumes().is_some());
    }
}
