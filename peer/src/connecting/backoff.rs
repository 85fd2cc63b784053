//! How long to wait before the next dial: full jitter, so that a thousand peers
//! that lost the same listening peer do not come back in step.

use std::time::Duration;

use crate::limits::{BACKOFF_BASE, BACKOFF_CAP, REPLACED_CAP};

/// The waits of one dial loop. Pure: randomness is an argument.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    /// Links in a row that another process took over.
    replaced: u32,
}

impl Backoff {
    /// The next wait: uniform in zero to [`BACKOFF_BASE`] doubled with each
    /// failure, at most [`BACKOFF_CAP`]. `random` is uniform over all of `u64`.
    pub fn next(&mut self, random: u64) -> Duration {
        let bound = doubled(self.failures).min(BACKOFF_CAP);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// Starts over, after a link that lasted `lived`: one that did not outlive
    /// the longest wait counts as another failure.
    pub fn link_ended(&mut self, lived: Duration) {
        if lived >= BACKOFF_CAP {
            self.failures = 0;
        }
        if lived >= REPLACED_CAP {
            self.replaced = 0;
        }
    }

    /// The wait after a link that another process with the same peer id took over, however
    /// long it had lasted: two that fight over an id do so ever more slowly. Uniform in the
    /// upper half of [`BACKOFF_BASE`] doubled with each, at most [`REPLACED_CAP`].
    pub fn replaced(&mut self, random: u64) -> Duration {
        self.replaced = self.replaced.saturating_add(1);
        let bound = doubled(self.replaced).min(REPLACED_CAP);
        bound.mul_f64(0.5 + random as f64 / u64::MAX as f64 / 2.0)
    }
}

fn doubled(times: u32) -> Duration {
    BACKOFF_BASE.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_to_the_cap_and_stays() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..7).map(|_| backoff.next(u64::MAX).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100 {
            assert_eq!(backoff.next(u64::MAX), BACKOFF_CAP);
        }
    }

    #[test]
    fn only_a_link_that_lasted_resets() {
        let mut backoff = Backoff::default();
        backoff.next(0);
        backoff.next(0);
        backoff.link_ended(BACKOFF_CAP - Duration::from_millis(1));
        assert_eq!(backoff.next(u64::MAX).as_secs(), 4);
        backoff.link_ended(BACKOFF_CAP);
        assert_eq!(backoff.next(u64::MAX).as_secs(), 1);
    }

    #[test]
    fn a_fight_over_an_id_slows_down_whatever_the_links_lasted() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..10)
            .map(|_| {
                backoff.link_ended(BACKOFF_CAP);
                backoff.replaced(u64::MAX).as_secs()
            })
            .collect();
        assert_eq!(bounds, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.replaced(0), REPLACED_CAP / 2);
        backoff.link_ended(REPLACED_CAP);
        assert_eq!(backoff.replaced(u64::MAX).as_secs(), 2);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_the_cap(draws in prop::collection::vec(any::<u64>(), 0..80)) {
            let mut backoff = Backoff::default();
            for random in draws {
                prop_assert!(backoff.next(random) <= BACKOFF_CAP);
            }
        }
    }
}
