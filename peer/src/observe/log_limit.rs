//! Which log lines are written, of those that the other end of a connection can
//! provoke: a few of each source and reason at once, then one now and then, and of all
//! sources together no more than somebody can read. What is left out is counted, and
//! said from time to time.
//!
//! Pure: `now` is an argument, and who writes the lines is somebody else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::LogReason;
use crate::config::Endpoint;
use crate::limits::{
    LOG_BURST, LOG_BURST_IN_ALL, LOG_INTERVAL, LOG_INTERVAL_IN_ALL, LOG_SOURCES,
    LOG_SUMMARY_SOURCES,
};
use crate::mesh::admission::group;
use crate::names::Name;
use crate::trust::Identity;

/// Whose log lines are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogSource {
    /// Who comes from this IPv4 address, or from this IPv6 /64.
    Network(IpAddr),
    /// A peer that has proven who it is.
    Peer(Identity),
    /// A listening peer that we dialled.
    Upstream(Endpoint),
    /// Whoever asks for this name, which is a known one.
    Name(Name),
    /// Nobody that could be told apart.
    Anyone,
}

/// How many lines of one source and reason were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Who provoked them.
    pub(super) source: LogSource,
    /// What they are about.
    pub(super) reason: LogReason,
    /// How many.
    pub(super) count: u64,
}

/// How many lines were left out since the last summary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Those with most of them, the most first; [`LOG_SUMMARY_SOURCES`] at most.
    pub(super) sources: Vec<LeftOut>,
    /// Lines of all others.
    pub(super) others: u64,
    /// What time that is about.
    pub(super) lasted: Duration,
}

/// What each source has had of its share.
#[derive(Debug)]
pub(super) struct LogLimit {
    entries: BTreeMap<Key, Entry>,
    /// The keys of all entries, the oldest first.
    by_age: VecDeque<Key>,
    in_all: Share,
    /// Lines left out whose entry had to make room.
    forgotten: u64,
    summarised: Instant,
}

type Key = (LogSource, LogReason);

#[derive(Debug)]
struct Entry {
    share: Share,
    left_out: u64,
}

impl LogLimit {
    /// Nothing was logged yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_age: VecDeque::new(),
            in_all: Share::new(LOG_BURST_IN_ALL, LOG_INTERVAL_IN_ALL, now),
            forgotten: 0,
            summarised: now,
        }
    }

    /// Whether a line that `source` provoked may be written now; if not, it is counted
    /// for the next summary.
    pub(super) fn allows(&mut self, source: LogSource, reason: LogReason, now: Instant) -> bool {
        let key = (source, reason);
        if !self.entries.contains_key(&key) {
            self.make_room();
            let share = Share::new(LOG_BURST, LOG_INTERVAL, now);
            self.by_age.push_back(key.clone());
            self.entries.insert(key.clone(), Entry { share, left_out: 0 });
        }
        let entry = self.entries.get_mut(&key).expect("it is there or was just put there");
        // Who has had his share takes nothing of that of all.
        if entry.share.has_more(now) && self.in_all.take(now) {
            return entry.share.take(now);
        }
        entry.left_out += 1;
        false
    }

    fn make_room(&mut self) {
        while self.entries.len() >= LOG_SOURCES
            && let Some(oldest) = self.by_age.pop_front()
        {
            let entry = self.entries.remove(&oldest);
            self.forgotten += entry.map_or(0, |entry| entry.left_out);
        }
    }

    /// What was left out since this was asked last; `None` when nothing was. Whoever
    /// has his whole share again is forgotten.
    pub(super) fn summarise(&mut self, now: Instant) -> Option<Summary> {
        let lasted = now.saturating_duration_since(self.summarised);
        self.summarised = now;
        let mut sources = Vec::new();
        for ((source, reason), entry) in &mut self.entries {
            let count = std::mem::take(&mut entry.left_out);
            if count > 0 {
                sources.push(LeftOut { source: source.clone(), reason: *reason, count });
            }
        }
        sources.sort_by_key(|left_out| Reverse(left_out.count));
        let more = sources.split_off(sources.len().min(LOG_SUMMARY_SOURCES));
        let others = std::mem::take(&mut self.forgotten)
            + more.iter().map(|left_out| left_out.count).sum::<u64>();
        self.entries.retain(|_, entry| !entry.share.is_whole(now));
        self.by_age.retain(|key| self.entries.contains_key(key));
        (others > 0 || !sources.is_empty()).then_some(Summary { sources, others, lasted })
    }
}

/// So many lines at once, and one more in each interval.
#[derive(Debug)]
struct Share {
    burst: u32,
    interval: Duration,
    left: u32,
    /// When `left` last grew, or would have.
    grown: Instant,
}

impl Share {
    fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst, interval, left: burst, grown: now }
    }

    fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.grown);
        let intervals = passed.as_nanos() / self.interval.as_nanos();
        match u32::try_from(intervals) {
            Ok(intervals) if intervals < self.burst - self.left => {
                self.left += intervals;
                self.grown += self.interval * intervals;
            }
            _ => {
                self.left = self.burst;
                self.grown = now.max(self.grown);
            }
        }
    }

    fn has_more(&mut self, now: Instant) -> bool {
        self.grow(now);
        self.left > 0
    }

    fn is_whole(&mut self, now: Instant) -> bool {
        self.grow(now);
        self.left == self.burst
    }

    fn take(&mut self, now: Instant) -> bool {
        let has_more = self.has_more(now);
        self.left -= u32::from(has_more);
        has_more
    }
}

impl From<IpAddr> for LogSource {
    fn from(address: IpAddr) -> Self {
        Self::Network(group(address))
    }
}

impl From<&Name> for LogSource {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&Endpoint> for LogSource {
    fn from(upstream: &Endpoint) -> Self {
        Self::Upstream(upstream.clone())
    }
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Network(IpAddr::V6(address)) => write!(f, "{address}/64"),
            Self::Peer(identity) => write!(f, "{identity}"),
            Self::Upstream(upstream) => write!(f, "{upstream}"),
            Self::Name(name) => write!(f, "requests for {name}"),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::observe::metrics::{Incident, Rejection};

    const REASON: LogReason = LogReason::Rejected(Rejection::BadLine);

    fn of(number: u32) -> LogSource {
        IpAddr::V4(Ipv4Addr::from_bits(number)).into()
    }

    /// How many of `count` lines are written.
    fn written(limit: &mut LogLimit, source: &LogSource, count: usize, now: Instant) -> usize {
        (0..count).filter(|_| limit.allows(source.clone(), REASON, now)).count()
    }

    #[test]
    fn a_source_gets_a_few_lines_at_once_and_then_one_in_an_interval() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        assert_eq!(written(&mut limit, &of(1), 1_000, start), LOG_BURST as usize);
        for interval in 1..4 {
            let now = start + LOG_INTERVAL * interval;
            assert_eq!(written(&mut limit, &of(1), 1_000, now - LOG_INTERVAL / 2), 0);
            assert_eq!(written(&mut limit, &of(1), 1_000, now), 1);
        }
        let other = LogReason::from(Incident::LinkUp);
        assert!(limit.allows(of(1), other, start), "another reason");
        assert!(limit.allows(of(2), REASON, start), "another source");
        let rested = start + LOG_INTERVAL * 100;
        assert_eq!(written(&mut limit, &of(1), 1_000, rested), LOG_BURST as usize);
    }

    #[test]
    fn a_summary_tells_what_was_left_out_and_by_whom() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        assert_eq!(limit.summarise(start), None);
        written(&mut limit, &of(1), LOG_BURST as usize, start);
        assert_eq!(limit.summarise(start), None, "all of it was written");
        written(&mut limit, &of(1), 3, start);
        written(&mut limit, &of(2), LOG_BURST as usize + 7, start);
        let later = start + LOG_INTERVAL / 2;
        let left_out = |source, count| LeftOut { source, reason: REASON, count };
        let sources = vec![left_out(of(2), 7), left_out(of(1), 3)];
        let summary = Summary { sources, others: 0, lasted: LOG_INTERVAL / 2 };
        assert_eq!(limit.summarise(later), Some(summary));
        assert_eq!(limit.summarise(later), None, "said once");
        limit.summarise(start + LOG_INTERVAL * (LOG_BURST + 1));
        assert!(limit.entries.is_empty() && limit.by_age.is_empty(), "whoever rests is forgotten");
    }

    #[test]
    fn a_hundred_thousand_sources_get_no_more_lines_than_all_may_have() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        let count = (0..100_000).filter(|number| limit.allows(of(*number), REASON, start)).count();
        assert_eq!(count, LOG_BURST_IN_ALL as usize);
        assert_eq!(limit.entries.len(), LOG_SOURCES);
        let summary = limit.summarise(start).unwrap();
        assert_eq!(summary.sources.len(), LOG_SUMMARY_SOURCES);
        assert_eq!(in_all(&summary) + count as u64, 100_000);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| LogSource::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    fn in_all(summary: &Summary) -> u64 {
        summary.others + summary.sources.iter().map(|one| one.count).sum::<u64>()
    }

    proptest! {
        /// Whatever happens: each line is written or said to be left out, and nobody
        /// gets more than his share, nor all together more than theirs.
        #[test]
        fn every_line_is_written_or_counted_and_no_share_is_exceeded(
            steps in prop::collection::vec((0_u32..40, 0_u64..400, 0_u8..50), 1..600),
        ) {
            let start = Instant::now();
            let (mut limit, mut now) = (LogLimit::new(start), start);
            let mut of_source: BTreeMap<u32, u64> = BTreeMap::new();
            let (mut written, mut left_out) = (0, 0);
            for (number, milliseconds, kind) in &steps {
                now += Duration::from_millis(*milliseconds);
                if *kind == 0 {
                    left_out += limit.summarise(now).as_ref().map_or(0, in_all);
                }
                if limit.allows(of(*number), REASON, now) {
                    *of_source.entry(*number).or_default() += 1;
                    written += 1;
                }
                prop_assert!(limit.entries.len() <= LOG_SOURCES);
                prop_assert_eq!(limit.entries.len(), limit.by_age.len());
            }
            left_out += limit.summarise(now).as_ref().map_or(0, in_all);
            prop_assert_eq!(written + left_out, steps.len() as u64);
            let share = |burst, interval: Duration| {
                u64::from(burst) + (now - start).as_millis() as u64 / interval.as_millis() as u64
            };
            prop_assert!(of_source.values().all(|count| *count <= share(LOG_BURST, LOG_INTERVAL)));
            prop_assert!(written <= share(LOG_BURST_IN_ALL, LOG_INTERVAL_IN_ALL));
        }
    }
}
