//! Names that are expected back, because they were served before this peer started or
//! were lost a moment ago; and the requests that wait for them.
//!
//! Pure: a table and its transitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::names::Name;

/// The names that others have registered with a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames {
    /// Those that somebody serves, or is expected to.
    pub up: Vec<Name>,
    /// Those that nobody serves any more.
    pub down: Vec<Name>,
}

/// How long requests wait for a provider that is expected back.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From their arrival, for a name that is expected after a start.
    pub arrival: Duration,
    /// From the loss of its last provider, for any other name.
    pub loss: Duration,
}

/// Names that are expected back, and how many requests wait for which name.
#[derive(Debug, Default)]
pub struct Returning {
    expected: BTreeSet<Name>,
    held: BTreeMap<Name, usize>,
}

impl Returning {
    /// A name that should come back after a start.
    pub fn expect(&mut self, name: Name) {
        self.expected.insert(name);
    }

    /// A name has a provider. It is a name like any other from now on.
    pub fn came_back(&mut self, name: &Name) {
        self.expected.remove(name);
    }

    /// The names that are not back yet.
    pub fn expected(&self) -> &BTreeSet<Name> {
        &self.expected
    }

    /// Returns the names that are not back, and expects them no longer.
    pub fn give_up(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.expected)
    }

    /// How many requests wait.
    pub fn held(&self) -> usize {
        self.held.values().sum()
    }

    /// Until when a request for `name`, which lost its last provider at `lost`, waits;
    /// `None` if it does not, because nobody is expected back or `most` requests wait
    /// already. Each that does is to be [released](Self::release).
    pub fn hold(
        &mut self,
        name: &Name,
        (now, lost): (Instant, Instant),
        patience: Patience,
        most: usize,
    ) -> Option<Instant> {
        let until = match self.expected.contains(name) {
            true => now + patience.arrival,
            false => lost + patience.loss,
        };
        let waiting = self.held.get(name).copied().unwrap_or(0);
        if until <= now || waiting >= most {
            return None;
        }
        self.held.insert(name.clone(), waiting + 1);
        Some(until)
    }

    /// A request waits no longer.
    pub fn release(&mut self, name: &Name) {
        let Some(waiting) = self.held.get_mut(name) else { return };
        *waiting -= 1;
        if *waiting == 0 {
            self.held.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { arrival: Duration::from_secs(5), loss: Duration::from_secs(2) };

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_waits_from_its_arrival_for_what_is_expected_and_from_the_loss_otherwise() {
        let (start, mut returning) = (Instant::now(), Returning::default());
        let (expected, lost) = (name("a.example"), name("b.example"));
        returning.expect(expected.clone());
        let now = start + Duration::from_secs(1);
        let mut hold = |name| returning.hold(name, (now, start), PATIENCE, 9);
        assert_eq!(hold(&expected), Some(now + PATIENCE.arrival));
        assert_eq!(hold(&lost), Some(start + PATIENCE.loss));
        assert_eq!(returning.held(), 2);
    }

    #[test]
    fn a_name_that_came_back_is_like_any_other() {
        let (start, mut returning) = (Instant::now(), Returning::default());
        let one = name("a.example");
        returning.expect(one.clone());
        returning.came_back(&one);
        let later = start + PATIENCE.loss;
        assert_eq!(returning.hold(&one, (later, start), PATIENCE, 9), None);
        assert!(returning.expected().is_empty());
    }

    #[test]
    fn only_so_many_requests_wait_for_one_name() {
        let (now, mut returning) = (Instant::now(), Returning::default());
        let (one, other) = (name("a.example"), name("b.example"));
        for _ in 0..3 {
            assert!(returning.hold(&one, (now, now), PATIENCE, 3).is_some());
        }
        assert_eq!(returning.hold(&one, (now, now), PATIENCE, 3), None);
        assert!(returning.hold(&other, (now, now), PATIENCE, 3).is_some());
        returning.release(&one);
        assert!(returning.hold(&one, (now, now), PATIENCE, 3).is_some());
        (0..3).for_each(|_| returning.release(&one));
        returning.release(&other);
        assert_eq!(returning.held(), 0);
    }
}
