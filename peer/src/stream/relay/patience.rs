//! How long a stretch of requests may stand still: between two requests, and within a head.

use std::task::Context;

use tokio::time::Instant;

use super::alarm::Alarm;
use crate::http::Standstill;
use crate::limits::{HEAD_DEADLINE, KEEP_ALIVE};

/// A timer that is set at the first standstill, and looks again when it comes round: while
/// requests flow, it is not touched.
#[derive(Debug, Default)]
pub(super) struct Patience {
    alarm: Alarm,
}

impl Patience {
    /// Whether the stretch has stood still for too long at `now`. If not, the task is woken
    /// when it would have.
    pub(super) fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        standstill: Standstill,
        now: Instant,
    ) -> bool {
        let until = match standstill {
            Standstill::Idle(since) => since + KEEP_ALIVE,
            Standstill::Head(since) => since + HEAD_DEADLINE,
            Standstill::Busy => return false,
        };
        if until <= now {
            return true;
        }
        if self.alarm.at().is_none_or(|at| at > until) {
            self.alarm.set(until);
        }
        while self.alarm.poll(cx).is_ready() {
            // The clock may have gone on since it was read.
            if self.alarm.at() >= Some(until) {
                return true;
            }
            // It was set for an earlier standstill, which was over before this one is.
            self.alarm.set(until);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    /// The time goes on behind the back of whoever has read the clock.
    #[tokio::test]
    async fn a_standstill_that_ends_while_it_is_looked_at_is_over() {
        let now = Instant::now();
        let before = now - KEEP_ALIVE - Duration::from_secs(1);
        let mut patience = Patience::default();
        let over = poll_fn(|cx| match patience.is_over(cx, Standstill::Idle(before), before) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        over.await;
        let next = poll_fn(|cx| Poll::Ready(patience.is_over(cx, Standstill::Idle(now), now)));
        assert!(!next.await, "the next one begins");
    }
}
