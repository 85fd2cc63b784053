//! What is known of host names: which answers are still good, which lookups run, and
//! whether another may begin. Pure: the clock is an argument.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::limits::{
    ANSWER_KEPT, FAILURE_KEPT, HOSTS_KNOWN, LOOKUP_OVERDUE, LOOKUPS, LOOKUPS_PER_HOST,
};

/// What a lookup came to: addresses, at least one, or why there are none.
pub(super) type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// The answers of one peer's lookups.
#[derive(Debug, Default)]
pub(super) struct Answers {
    hosts: BTreeMap<String, Host>,
    /// Lookups of all hosts that have not ended.
    running: usize,
    /// Counts lookups, to tell them apart.
    begun: u64,
}

/// What is known of one host.
#[derive(Debug, Default)]
struct Host {
    answer: Option<Answer>,
    /// Those that have not ended: at most one that is not overdue.
    lookups: Vec<Lookup>,
}

/// An answer, and when it came.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub found: Found,
    pub at: Instant,
}

/// One lookup; to be [ended](Answers::end) whatever becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lookup {
    number: u64,
    began: Instant,
}

/// What is to be done for a caller that asks for a host.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nothing: this is the answer.
    Known(Answer),
    /// Wait for a lookup of this host that runs.
    Wait,
    /// Begin this lookup, and wait for it.
    Begin(Lookup),
    /// Wait for the end of any lookup: no more may run.
    Full,
}

impl Answer {
    fn is_good(&self, now: Instant) -> bool {
        let kept = if self.found.is_ok() { ANSWER_KEPT } else { FAILURE_KEPT };
        now < self.at + kept
    }
}

impl Lookup {
    fn is_overdue(&self, now: Instant) -> bool {
        now >= self.began + LOOKUP_OVERDUE
    }
}

impl Host {
    fn is_idle(&self, now: Instant) -> bool {
        self.lookups.is_empty() && !self.answer.as_ref().is_some_and(|answer| answer.is_good(now))
    }
}

impl Answers {
    /// Somebody wants to know the addresses of `host`.
    pub(super) fn ask(&mut self, host: &str, now: Instant) -> Asked {
        if !self.hosts.contains_key(host) {
            if self.hosts.len() >= HOSTS_KNOWN {
                self.hosts.retain(|_, host| !host.is_idle(now));
            }
            self.hosts.insert(host.to_owned(), Host::default());
        }
        let host = self.hosts.get_mut(host).expect("it was there or has been put there");
        if let Some(answer) = host.answer.take_if(|answer| answer.is_good(now)) {
            host.answer = Some(answer.clone());
            return Asked::Known(answer);
        }
        if host.lookups.iter().any(|lookup| !lookup.is_overdue(now)) {
            return Asked::Wait;
        }
        if host.lookups.len() >= LOOKUPS_PER_HOST {
            let error = io::Error::new(io::ErrorKind::TimedOut, "its lookups get no answer");
            return Asked::Known(Answer { found: Err(Arc::new(error)), at: now });
        }
        if self.running >= LOOKUPS {
            return Asked::Full;
        }
        self.running += 1;
        self.begun += 1;
        let lookup = Lookup { number: self.begun, began: now };
        host.lookups.push(lookup);
        Asked::Begin(lookup)
    }

    /// A lookup of `host` has ended like this.
    pub(super) fn end(&mut self, host: &str, lookup: Lookup, found: Found, now: Instant) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        host.lookups.retain(|one| *one != lookup);
        self.running -= 1;
        // What failed after all does not take away what another lookup has found.
        let has_better = |answer: &Answer| answer.found.is_ok() && answer.is_good(now);
        if found.is_ok() || !host.answer.as_ref().is_some_and(has_better) {
            host.answer = Some(Answer { found, at: now });
        }
    }

    /// Nobody answered at any of `addresses`: they may be old. A newer answer stays.
    pub(super) fn forget(&mut self, host: &str, addresses: &Arc<[IpAddr]>) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        let is_this = |answer: &mut Answer| {
            answer.found.as_ref().is_ok_and(|known| Arc::ptr_eq(known, addresses))
        };
        host.answer.take_if(is_this);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn addresses(last: u8) -> Arc<[IpAddr]> {
        Arc::new([IpAddr::from([10, 0, 0, last])])
    }

    fn failure() -> Found {
        Err(Arc::new(io::ErrorKind::NotFound.into()))
    }

    fn begin(answers: &mut Answers, host: &str, now: Instant) -> Lookup {
        match answers.ask(host, now) {
            Asked::Begin(lookup) => lookup,
            other => panic!("{host}: {other:?}"),
        }
    }

    fn known(answers: &mut Answers, host: &str, now: Instant) -> Found {
        match answers.ask(host, now) {
            Asked::Known(answer) => answer.found,
            other => panic!("{host}: {other:?}"),
        }
    }

    #[test]
    fn one_lookup_serves_all_who_ask_while_it_runs_and_for_a_while_after() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let lookup = begin(&mut answers, "web", start);
        assert!(matches!(answers.ask("web", start + MOMENT), Asked::Wait));
        let came = start + 2 * MOMENT;
        answers.end("web", lookup, Ok(addresses(1)), came);
        for age in [Duration::ZERO, ANSWER_KEPT - MOMENT] {
            assert_eq!(known(&mut answers, "web", came + age).unwrap(), addresses(1));
        }
        begin(&mut answers, "web", came + ANSWER_KEPT);
    }

    #[test]
    fn a_failure_is_kept_for_less_long() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let lookup = begin(&mut answers, "web", start);
        answers.end("web", lookup, failure(), start);
        assert!(known(&mut answers, "web", start + FAILURE_KEPT - MOMENT).is_err());
        begin(&mut answers, "web", start + FAILURE_KEPT);
    }

    #[test]
    fn addresses_at_which_nobody_answers_are_forgotten_unless_newer_ones_are_known() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let (old, new) = (addresses(1), addresses(2));
        let lookup = begin(&mut answers, "web", start);
        answers.end("web", lookup, Ok(old.clone()), start);
        answers.forget("web", &old);
        let lookup = begin(&mut answers, "web", start);
        answers.end("web", lookup, Ok(new.clone()), start);
        answers.forget("web", &old);
        answers.forget("nobody", &old);
        assert_eq!(known(&mut answers, "web", start).unwrap(), new);
    }

    #[test]
    fn a_lookup_that_hangs_lets_one_other_begin_and_then_none() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let first = begin(&mut answers, "web", start);
        let later = start + LOOKUP_OVERDUE;
        assert!(matches!(answers.ask("web", later - MOMENT), Asked::Wait));
        let second = begin(&mut answers, "web", later);
        assert!(matches!(answers.ask("web", later), Asked::Wait));
        let late = later + LOOKUP_OVERDUE;
        assert_eq!(
            known(&mut answers, "web", late).unwrap_err().kind(),
            io::ErrorKind::TimedOut,
            "a caller hears it without a wait"
        );
        // The host is not lost for ever: the first to end makes room.
        answers.end("web", first, failure(), late);
        begin(&mut answers, "web", late + FAILURE_KEPT);
        answers.end("web", second, Ok(addresses(1)), late + FAILURE_KEPT);
        assert_eq!(known(&mut answers, "web", late + FAILURE_KEPT).unwrap(), addresses(1));
    }

    #[test]
    fn a_failure_that_comes_late_does_not_undo_a_success() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let first = begin(&mut answers, "web", start);
        let later = start + LOOKUP_OVERDUE;
        let second = begin(&mut answers, "web", later);
        answers.end("web", second, Ok(addresses(1)), later);
        answers.end("web", first, failure(), later);
        assert_eq!(known(&mut answers, "web", later).unwrap(), addresses(1));
    }

    #[test]
    fn so_many_lookups_run_at_a_time_and_no_more() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let hosts: Vec<String> = (0..LOOKUPS).map(|n| format!("host{n}")).collect();
        let lookups: Vec<Lookup> =
            hosts.iter().map(|host| begin(&mut answers, host, start)).collect();
        assert!(matches!(answers.ask("web", start), Asked::Full));
        answers.end(&hosts[0], lookups[0], failure(), start);
        begin(&mut answers, "web", start);
        assert!(matches!(answers.ask("db", start), Asked::Full));
    }

    #[test]
    fn hosts_that_nobody_asks_for_any_more_make_room() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        for number in 0..HOSTS_KNOWN {
            let host = format!("host{number}");
            let lookup = begin(&mut answers, &host, start);
            answers.end(&host, lookup, Ok(addresses(1)), start);
        }
        begin(&mut answers, "web", start + ANSWER_KEPT);
        assert_eq!(answers.hosts.len(), 1);
    }
}
