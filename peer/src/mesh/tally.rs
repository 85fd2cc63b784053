//! Who holds how many of something scarce, and who has to give first.

use std::collections::{BTreeMap, BTreeSet};

/// Counts by holder. Every change costs the logarithm of the number of holders.
#[derive(Debug, Clone)]
pub struct Tally<K> {
    counts: BTreeMap<K, usize>,
    ranked: BTreeSet<(usize, K)>,
    total: usize,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), ranked: BTreeSet::new(), total: 0 }
    }
}

impl<K: Ord + Clone> Tally<K> {
    /// `holder` has one more.
    pub fn add(&mut self, holder: &K) {
        let before = self.of(holder);
        self.set(holder, before, before + 1);
        self.total += 1;
    }

    /// `holder` has one less.
    ///
    /// # Panics
    /// If it has none.
    pub fn remove(&mut self, holder: &K) {
        let before = self.of(holder);
        assert!(before > 0, "a holder gives back what it holds");
        self.set(holder, before, before - 1);
        self.total -= 1;
    }

    /// How many `holder` has.
    pub fn of(&self, holder: &K) -> usize {
        self.counts.get(holder).copied().unwrap_or(0)
    }

    /// How many all of them have.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Who has the most. Of several, always the same one.
    pub fn greediest(&self) -> Option<&K> {
        self.ranked.last().map(|(_, holder)| holder)
    }

    fn set(&mut self, holder: &K, before: usize, now: usize) {
        self.ranked.remove(&(before, holder.clone()));
        if now == 0 {
            self.counts.remove(holder);
        } else {
            self.counts.insert(holder.clone(), now);
            self.ranked.insert((now, holder.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_counting_says(steps in prop::collection::vec((any::<bool>(), 0..5_u8), 0..100)) {
            let mut tally = Tally::default();
            let mut counts = [0_usize; 5];
            for (adds, holder) in steps {
                let count = &mut counts[usize::from(holder)];
                if adds {
                    tally.add(&holder);
                    *count += 1;
                } else if *count > 0 {
                    tally.remove(&holder);
                    *count -= 1;
                }
                prop_assert_eq!(tally.total(), counts.iter().sum::<usize>());
                let most = counts.iter().copied().max().unwrap_or(0);
                prop_assert_eq!(tally.greediest().map_or(0, |holder| tally.of(holder)), most);
            }
        }
    }
}
