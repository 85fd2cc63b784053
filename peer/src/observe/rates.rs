//! What happened within the last minute: the counters, read from time to time, and how far
//! they have come since.
//!
//! Nobody keeps rates: who wants one subtracts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{RATE_EVERY, RATE_READINGS};

/// Counters at one moment, or how far they have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that were routed or, for others, served here.
    pub requests: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Payload bytes, client to backend.
    pub sent: u64,
    /// Payload bytes, backend to client.
    pub received: u64,
}

impl Counted {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }

    /// What of this, counted within `span`, belongs to a minute of it.
    fn of_a_minute(self, span: Duration) -> Self {
        let minute = RATE_EVERY * RATE_READINGS as u32;
        if span <= minute {
            return self;
        }
        let share = minute.as_secs_f64() / span.as_secs_f64();
        let of = |count: u64| (count as f64 * share).round() as u64;
        Self {
            requests: of(self.requests),
            failed: of(self.failed),
            sent: of(self.sent),
            received: of(self.received),
        }
    }
}

/// The counters of the names at one moment.
type Reading = BTreeMap<String, Counted>;

/// The readings of the last minute.
#[derive(Debug, Default)]
pub struct Rates(Mutex<VecDeque<(Instant, Reading)>>);

impl Rates {
    /// The counters say this now.
    pub fn read(&self, now: Instant, reading: Reading) {
        let mut readings = self.readings();
        readings.push_back((now, reading));
        // One more than fit a minute: the oldest is what a minute is counted from.
        let surplus = readings.len().saturating_sub(RATE_READINGS + 1);
        drop(readings.drain(..surplus));
    }

    /// What came of each name within the last minute, whose counters say this `now`. What is
    /// new since the oldest reading began with it.
    pub fn last_minute<'a>(
        &self,
        now: Instant,
        names: impl Iterator<Item = (&'a str, Counted)>,
    ) -> Vec<Counted> {
        let readings = self.readings();
        let oldest = readings.front();
        let since = |(name, counted): (&str, Counted)| match oldest {
            None => counted,
            Some((at, reading)) => {
                let before = reading.get(name).copied().unwrap_or_default();
                counted.since(before).of_a_minute(now.saturating_duration_since(*at))
            }
        };
        names.map(since).collect()
    }

    fn readings(&self) -> MutexGuard<'_, VecDeque<(Instant, Reading)>> {
        let Self(readings) = self;
        // Nothing depends on what a panic may have left half changed.
        readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(requests: u64) -> Counted {
        Counted { requests, ..Counted::default() }
    }

    fn requests(rates: &Rates, now: Instant, count: u64) -> u64 {
        rates.last_minute(now, [("app", counted(count))].into_iter())[0].requests
    }

    #[tokio::test]
    async fn what_is_older_than_a_minute_is_not_of_the_last() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(requests(&rates, start, 7), 7, "all began within it");
        for reading in 0..20 {
            let now = start + RATE_EVERY * reading;
            // One each second.
            let count = u64::from(reading) * RATE_EVERY.as_secs();
            rates.read(now, [("app".to_owned(), counted(count))].into());
            let minute = (RATE_EVERY * RATE_READINGS as u32).as_secs();
            assert_eq!(requests(&rates, now, count), count.min(minute));
        }
        let later = start + RATE_EVERY * 19 + RATE_EVERY / 2;
        let count = RATE_EVERY.as_secs() * 19 + RATE_EVERY.as_secs() / 2;
        assert_eq!(requests(&rates, later, count), 60, "between two readings, too");
    }

    #[tokio::test]
    async fn a_counter_that_began_anew_has_come_from_nothing() {
        let (rates, now) = (Rates::default(), Instant::now());
        rates.read(now, [("app".to_owned(), counted(100))].into());
        assert_eq!(requests(&rates, now, 3), 0);
    }
}
