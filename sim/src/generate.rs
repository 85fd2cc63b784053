//! Scenarios drawn at random, as people would write them.
//!
//! Swarm style: a seed first draws what may happen at all and how hot it gets,
//! so that some runs are all crashes and others never see one. The result is an
//! ordinary [`Scenario`], which can be written to a file and read back.

mod faults;
mod mesh;
mod work;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::scenario::{Network, Scenario, Time};
use crate::steps::Step;

/// Steps begin within this time of the start, in milliseconds.
const STEPS_WITHIN: u64 = 10_000;

/// Most peers of one mesh.
const MOST_PEERS: usize = 12;

/// Chance and what it has drawn for one scenario.
struct Draw {
    rng: SmallRng,
}

impl Draw {
    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.random_range(least..=most)
    }

    fn millis(&mut self, least: u64, most: u64) -> Time {
        Time::from_millis(self.between(least, most))
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        of.choose(&mut self.rng).expect("there is something to choose from")
    }
}

/// The scenario of this seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut draw = Draw { rng: SmallRng::seed_from_u64(seed) };
    let mut scenario = Scenario {
        title: format!("Explored with seed {seed}"),
        about: String::new(),
        faults: Vec::new(),
        seed,
        faults_must_bite: false,
        network: network(&mut draw),
        cas: Vec::new(),
        certificates: Default::default(),
        revocations: Default::default(),
        peers: Default::default(),
        backends: Default::default(),
        clients: Vec::new(),
        steps: Vec::new(),
    };
    mesh::draw(&mut draw, &mut scenario);
    let mut steps = work::draw(&mut draw, &scenario);
    steps.extend(faults::draw(&mut draw, &scenario));
    work::grow_patient(&mut steps);
    steps.sort_by_key(|step: &Step| step.at);
    // Places in a file come with the file.
    scenario.steps = steps.into_iter().map(|step| toml::Spanned::new(0..0, step)).collect();
    let text = scenario.to_toml();
    Scenario::parse("explored", &text)
        .unwrap_or_else(|error| panic!("the generator writes valid files: {error}\n{text}"))
}

fn network(draw: &mut Draw) -> Network {
    let latency = *draw.one(&[1, 5, 5, 20, 50]);
    Network {
        tick: Time::from_millis(*draw.one(&[5, 10, 10])),
        latency: Time::from_millis(latency),
        latency_max: draw.chance(0.5).then(|| Time::from_millis(latency * 3)),
        notices_cut_after: draw.millis(1_000, 15_000),
        ..Network::default()
    }
}
