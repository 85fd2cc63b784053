//! How long a stretch of requests may stand still: between two requests, and within a head.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::Standstill;
use crate::limits::{HEAD_DEADLINE, KEEP_ALIVE};

/// A timer that is set at the first standstill, and looks again when it comes round: while
/// requests flow, it is not touched.
#[derive(Debug, Default)]
pub(super) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
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
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.is_elapsed() || timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        // One that was set for an earlier standstill is over before this one is.
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(until);
        }
        false
    }
}
