//! A whole scenario.

use super::draw::Draw;
use super::{addresses, faults, health, http2, instances, manners, mesh, told, transit, udp, work};
use crate::scenario::{Network, Order, Scenario, Step, Time};

/// Makes a different number of a seed, so that what else is drawn does not depend on the order.
const APART: u64 = 0x4f52_4445;

/// The scenario of this seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut draw = Draw::new(seed);
    let mut scenario = Scenario {
        title: format!("Explored with seed {seed}"),
        about: String::new(),
        faults: Vec::new(),
        seed,
        faults_must_bite: false,
        real: Default::default(),
        network: network(&mut draw),
        cas: Vec::new(),
        certificates: Default::default(),
        revocations: Default::default(),
        peers: Default::default(),
        backends: Default::default(),
        clients: Vec::new(),
        steps: Vec::new(),
    };
    if Draw::new(seed ^ APART).chance(0.75) {
        scenario.network.order = Order::Random;
    }
    let is_secure = mesh::draw(&mut draw, &mut scenario);
    transit::draw(seed, &mut scenario);
    instances::draw(seed, &mut scenario);
    let moves = addresses::draw(seed, &mut scenario);
    if is_secure {
        mesh::certify(&mut scenario);
    }
    let mut steps = moves;
    steps.extend(work::draw(&mut draw, &scenario));
    steps.extend(faults::draw(&mut draw, &scenario));
    steps.extend(health::draw(seed, &mut scenario));
    steps.extend(udp::draw(seed, &mut scenario));
    steps.extend(http2::draw(seed, &scenario));
    told::draw(seed, &mut scenario, &mut steps);
    manners::draw(seed, &mut steps);
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
