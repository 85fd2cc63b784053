//! Who has vanished, and who only pauses: what is written and not acknowledged is looked
//! at now and then, until there is none.
//!
//! A reader that pauses closes its window, and its kernel answers each probe of it: it may
//! pause for as long as it likes. One that has vanished answers nothing.

use std::io;
use std::mem::replace;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Alarm;
use super::meter::RelayError;
use crate::limits::{UNACKNOWLEDGED_LOOK, UNANSWERED_TRIES, VANISHED_AFTER};

/// Something that was written to a stream and has not been acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Since the other end acknowledged anything last.
    pub silent_for: Duration,
    /// How often it was asked in vain since: bytes sent again, or probes of its closed
    /// window.
    pub tries: u32,
}

/// What is outstanding at both ends of a relay: the public one's, the backend's.
pub type Outstanding = [Option<Unacknowledged>; 2];

/// Watches over both ends of a relay. It costs nothing while nothing is written.
#[derive(Debug, Default)]
pub struct Vigil {
    /// The next look; not set while all that was written is known to have arrived.
    look: Alarm,
    ends: [Suspicion; 2],
}

impl Vigil {
    /// To be called when bytes, or an end, were `written` in this poll or before; asks for
    /// what is `outstanding` when it is time to.
    ///
    /// # Errors
    /// The end that has vanished.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        written: bool,
        outstanding: impl FnOnce() -> Outstanding,
    ) -> Result<(), RelayError> {
        if written && self.look.at().is_none() {
            self.look.set(Instant::now() + UNACKNOWLEDGED_LOOK);
        }
        if self.look.poll(cx).is_pending() {
            return Ok(());
        }
        let now = outstanding();
        let [public, backend] = &mut self.ends;
        if public.has_vanished(now[0]) {
            return Err(RelayError::Public(vanished()));
        }
        if backend.has_vanished(now[1]) {
            return Err(RelayError::Backend(vanished()));
        }
        if now == [None; 2] {
            self.look.clear();
            return Ok(());
        }
        self.look.set(Instant::now() + UNACKNOWLEDGED_LOOK);
        // So that the timer knows whom to wake; it is not over yet.
        let _: Poll<()> = self.look.poll(cx);
        Ok(())
    }
}

fn vanished() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody acknowledges what was sent")
}

/// Whether one end was without an answer at the last look, too.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Suspicion {
    unanswered: bool,
}

impl Suspicion {
    /// Whether the end has vanished, where this is outstanding now. It takes two looks:
    /// at the first, the last try may have been made a moment ago.
    fn has_vanished(&mut self, now: Option<Unacknowledged>) -> bool {
        let unanswered = now.is_some_and(|now| now.tries >= UNANSWERED_TRIES);
        let was_unanswered = replace(&mut self.unanswered, unanswered);
        let silent = now.is_some_and(|now| now.silent_for >= VANISHED_AFTER);
        was_unanswered && unanswered && silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that sends again at doubling intervals, two minutes at most, to a reader
    /// that answers until it vanishes.
    #[derive(Clone, Copy)]
    struct Kernel {
        /// The reader's window closed, or the bytes on their way were lost, at 0.
        closed_window: bool,
        vanishes: Option<Duration>,
    }

    impl Kernel {
        fn at(self, now: Duration) -> Option<Unacknowledged> {
            let (mut acknowledged, mut tries) = (Duration::ZERO, 0);
            let (mut next, mut interval) = (Duration::ZERO, Duration::from_millis(200));
            loop {
                next += interval;
                interval = (2 * interval).min(Duration::from_secs(120));
                if next > now {
                    return Some(Unacknowledged { silent_for: now - acknowledged, tries });
                }
                let answers = self.closed_window && self.vanishes.is_none_or(|at| next <= at);
                (acknowledged, tries) = if answers { (next, 0) } else { (acknowledged, tries + 1) };
            }
        }

        /// When it is noticed that the reader has vanished, with the looks at this phase.
        fn noticed(self, phase: Duration) -> Option<Duration> {
            let mut suspicion = Suspicion::default();
            let looks = (0..).map(|n| phase + n * UNACKNOWLEDGED_LOOK);
            let mut looks = looks.take_while(|at| *at < Duration::from_hours(2));
            looks.find(|at| suspicion.has_vanished(self.at(*at)))
        }
    }

    fn phases() -> impl Iterator<Item = Duration> {
        (0..150).map(|n| n * UNACKNOWLEDGED_LOOK / 150)
    }

    #[test]
    fn a_reader_that_pauses_is_waited_for_however_long_it_pauses() {
        for phase in phases() {
            let pauses = Kernel { closed_window: true, vanishes: None };
            assert_eq!(pauses.noticed(phase), None);
        }
    }

    #[test]
    fn who_vanishes_while_bytes_are_on_their_way_is_noticed_within_ninety_seconds() {
        for phase in phases() {
            let gone = Kernel { closed_window: false, vanishes: Some(Duration::ZERO) };
            let noticed = gone.noticed(phase).unwrap();
            assert!((VANISHED_AFTER..Duration::from_secs(90)).contains(&noticed), "{noticed:?}");
        }
    }

    /// The kernel's probes are as far apart as the pause was long, two minutes at most,
    /// and nobody else asks.
    #[test]
    fn who_vanishes_while_it_pauses_is_noticed_by_the_probes_of_its_window() {
        for phase in phases() {
            for paused in [0, 10, 30, 100, 1000] {
                let paused = Duration::from_secs(paused);
                let gone = Kernel { closed_window: true, vanishes: Some(paused) };
                let noticed = gone.noticed(phase).unwrap() - paused;
                let at_most = match paused.as_secs() {
                    0..=10 => Duration::from_secs(90),
                    _ => (4 * paused).min(Duration::from_secs(240)) + UNACKNOWLEDGED_LOOK,
                };
                assert!(noticed <= at_most, "paused {paused:?}: {noticed:?}");
            }
        }
    }

    #[test]
    fn a_probe_that_was_lost_or_sent_a_moment_ago_proves_nothing() {
        let silent = |tries| Some(Unacknowledged { silent_for: 2 * VANISHED_AFTER, tries });
        let mut suspicion = Suspicion::default();
        for _ in 0..10 {
            assert!(!suspicion.has_vanished(silent(1)));
        }
        assert!(!suspicion.has_vanished(silent(2)), "it may have been sent just now");
        let answered = Unacknowledged { silent_for: Duration::ZERO, tries: 0 };
        assert!(!suspicion.has_vanished(Some(answered)));
        assert!(!suspicion.has_vanished(silent(2)));
        assert!(suspicion.has_vanished(silent(2)));
    }
}
