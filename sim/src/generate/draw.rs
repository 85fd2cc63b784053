//! Chance, and what bounds it.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::scenario::Time;

/// Steps begin within this time of the start, in milliseconds.
pub(super) const STEPS_WITHIN: u64 = 10_000;

/// Most peers of one mesh.
pub(super) const MOST_PEERS: usize = 12;

/// Chance and what it has drawn for one scenario.
pub(super) struct Draw {
    rng: SmallRng,
}

impl Draw {
    /// What follows from this seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed) }
    }

    /// Whether something is so.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// A number from `least` to `most`.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.random_range(least..=most)
    }

    /// A time of so many milliseconds.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Time {
        Time::from_millis(self.between(least, most))
    }

    /// One of these.
    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        of.choose(&mut self.rng).expect("there is something to choose from")
    }
}
