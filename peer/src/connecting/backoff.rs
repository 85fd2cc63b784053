//! How long to wait before the next dial: full jitter, so that a thousand peers
//! that lost the same listening peer do not come back in step.

use std::time::Duration;

use crate::limits::{BACKOFF_BASE, BACKOFF_CAP};

/// The waits of one dial loop. Pure: randomness is an argument.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: uniform in zero to [`BACKOFF_BASE`] doubled with each
    /// failure, at most [`BACKOFF_CAP`]. `random` is uniform over all of `u64`.
    pub fn next(&mut self, random: u64) -> Duration {
        let bound = BACKOFF_BASE
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(BACKOFF_CAP);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// Starts over, after a link that lasted `lived`: one that did not outlive
    /// the longest wait counts as another failure.
    pub fn link_ended(&mut self, lived: Duration) {
        if lived >= BACKOFF_CAP {
            self.failures = 0;
        }
    }
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
