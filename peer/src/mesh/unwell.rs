//! Which names were withdrawn because their backends fail their checks: while nobody
//! serves such a name, clients are told when to come back.
//!
//! Pure: a table and its transitions.

use std::collections::{BTreeMap, BTreeSet};

use super::routes::{LinkId, Provider};
use crate::names::Name;

/// Names and who withdrew them for bad health, until that provider says otherwise or its
/// link ends.
#[derive(Debug)]
pub struct Unwell {
    by_name: BTreeMap<Name, BTreeMap<Provider, u16>>,
    held: BTreeMap<Provider, BTreeSet<Name>>,
    names_per_link: usize,
    names_in_all: usize,
}

impl Unwell {
    /// None yet. So many names of one link are remembered, and so many in all.
    pub fn new(names_per_link: usize, names_in_all: usize) -> Self {
        Self { by_name: BTreeMap::new(), held: BTreeMap::new(), names_per_link, names_in_all }
    }

    /// From now on so many names of one link are remembered.
    pub fn set_limit(&mut self, names_per_link: usize) {
        self.names_per_link = names_per_link;
    }

    /// `provider` has withdrawn `name`; clients may come back after so many seconds. Names
    /// beyond the limits are not remembered: only an answer will be less to the point.
    pub fn note(&mut self, name: Name, provider: Provider, retry_after: u16) {
        let is_full = self.by_name.len() >= self.names_in_all && !self.by_name.contains_key(&name);
        let held = self.held.entry(provider).or_default();
        if held.contains(&name) || (held.len() < self.names_per_link && !is_full) {
            held.insert(name.clone());
            self.by_name.entry(name).or_default().insert(provider, retry_after);
        } else if held.is_empty() {
            self.held.remove(&provider);
        }
    }

    /// `provider` serves `name` again, or has withdrawn it for another reason.
    pub fn forget(&mut self, name: &Name, provider: Provider) {
        let Some(held) = self.held.get_mut(&provider) else { return };
        if held.remove(name) {
            if held.is_empty() {
                self.held.remove(&provider);
            }
            self.strike(name, provider);
        }
    }

    /// A link has ended.
    pub fn close_link(&mut self, link: LinkId) {
        let provider = Provider::Link(link);
        for name in self.held.remove(&provider).unwrap_or_default() {
            self.strike(&name, provider);
        }
    }

    /// When a client may ask for this registered name again, in seconds, if somebody has
    /// withdrawn it for bad health: when the first of them may be back.
    pub fn retry_after(&self, name: &str) -> Option<u16> {
        self.by_name.get(name)?.values().min().copied()
    }

    fn strike(&mut self, name: &Name, provider: Provider) {
        if let Some(by) = self.by_name.get_mut(name) {
            by.remove(&provider);
            if by.is_empty() {
                self.by_name.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Provider = Provider::Link(LinkId(1));

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_forgotten_when_each_who_withdrew_it_is_back_or_gone() {
        let mut unwell = Unwell::new(10, 10);
        unwell.note(name("app"), FIRST, 20);
        unwell.note(name("app"), Provider::Local, 30);
        assert_eq!(unwell.retry_after("app"), Some(20));
        unwell.close_link(LinkId(1));
        assert_eq!(unwell.retry_after("app"), Some(30));
        unwell.forget(&name("app"), FIRST);
        unwell.forget(&name("app"), Provider::Local);
        assert_eq!(unwell.retry_after("app"), None);
        assert!(unwell.held.is_empty() && unwell.by_name.is_empty());
    }

    #[test]
    fn no_more_is_remembered_than_may_be() {
        let mut unwell = Unwell::new(2, 3);
        for one in ["a", "b", "c"] {
            unwell.note(name(one), FIRST, 5);
        }
        assert_eq!(unwell.retry_after("c"), None, "one too many of one link");
        for one in ["c", "d"] {
            unwell.note(name(one), Provider::Link(LinkId(2)), 5);
        }
        assert_eq!((unwell.retry_after("c"), unwell.retry_after("d")), (Some(5), None));
        unwell.note(name("a"), FIRST, 7);
        assert_eq!(unwell.retry_after("a"), Some(7), "what is known may change");
        unwell.note(name("e"), Provider::Link(LinkId(3)), 5);
        assert_eq!(unwell.held.len(), 2);
    }
}
