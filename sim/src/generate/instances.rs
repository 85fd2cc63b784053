//! Sites of several processes that do the same, each under an instance of one id.
//!
//! Drawn apart from all else, so that scenarios without them stay as they are.

use super::draw::{Draw, MOST_PEERS};
use super::mesh::timing;
use crate::scenario::{PeerSpec, Scenario};

/// Makes a different number of a seed.
const APART: u64 = 0x5457_494e;

/// Doubles a site of some scenarios, or triples it.
pub(super) fn draw(seed: u64, scenario: &mut Scenario) {
    let mut draw = Draw::new(seed ^ APART);
    if !draw.chance(0.2) {
        return;
    }
    let sites = scenario.peers.iter().filter(|(_, peer)| peer.listen.is_none());
    let sites: Vec<String> = sites.map(|(host, _)| host.clone()).collect();
    let site = draw.one(&sites).clone();
    let twins = draw.between(1, 2) as usize;
    let twins = twins.min(MOST_PEERS.saturating_sub(scenario.peers.len()));
    let Some(first) = scenario.peers.get_mut(&site).filter(|_| twins > 0) else { return };
    first.id = Some(format!("{site}/a"));
    let spec = first.clone();
    for instance in ["b", "c"].into_iter().take(twins) {
        let twin = PeerSpec {
            id: Some(format!("{site}/{instance}")),
            connect: spec.connect.clone(),
            services: spec.services.clone(),
            ..timing(&mut draw)
        };
        scenario.peers.insert(format!("{site}{instance}"), twin);
    }
}
