//! A timer of a task that is polled far more often than it is due.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that costs next to nothing to poll while it is not due: it is asked only for
/// whether it has rung, once it knows whom to wake.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    set: Option<Set>,
}

#[derive(Debug)]
struct Set {
    timer: Pin<Box<Sleep>>,
    /// Who is woken; none before the first poll after it was set.
    wakes: Option<Waker>,
}

impl Alarm {
    /// Rings at `at`, whatever it was set to before.
    pub(super) fn set(&mut self, at: Instant) {
        match &mut self.set {
            Some(set) => {
                set.timer.as_mut().reset(at);
                set.wakes = None;
            }
            None => self.set = Some(Set { timer: Box::pin(sleep_until(at)), wakes: None }),
        }
    }

    /// Does not ring any more.
    pub(super) fn clear(&mut self) {
        self.set = None;
    }

    /// When it rings or has rung, if it is set.
    pub(super) fn at(&self) -> Option<Instant> {
        self.set.as_ref().map(|set| set.timer.deadline())
    }

    /// Ready once it has rung; never so while it is not set.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(set) = &mut self.set else { return Poll::Pending };
        let knows = set.wakes.as_ref().is_some_and(|wakes| wakes.will_wake(cx.waker()));
        if knows && !set.timer.is_elapsed() {
            return Poll::Pending;
        }
        set.wakes = None;
        if set.timer.as_mut().poll(cx).is_pending() {
            set.wakes = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    /// The task that waits may not be the one that has waited before.
    #[tokio::test]
    async fn it_wakes_whoever_polled_it_last() {
        let at = Instant::now() + Duration::from_millis(20);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut alarm = Alarm::default();
        alarm.set(at);
        assert!(alarm.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(alarm.poll(&mut Context::from_waker(&waker)).is_pending());
        // A later timer of the same runtime: the alarm has rung before it.
        sleep_until(at + Duration::from_millis(20)).await;
        assert!(woken.0.load(SeqCst));
        assert!(alarm.poll(&mut Context::from_waker(&waker)).is_ready());
        alarm.set(at + Duration::from_hours(1));
        assert!(alarm.poll(&mut Context::from_waker(&waker)).is_pending(), "set anew");
    }
}
