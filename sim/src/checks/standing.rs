//! Which of all paths a name takes: each peer passes a name on over the shortest path that
//! does not lead through whom it tells.

use std::collections::{BTreeMap, BTreeSet};

use ops_proxy::limits::PATH_PEERS;
use ops_proxy::names::PeerId;

use super::chance::Chance;
use super::wanted::{Connecting, Wanted};
use crate::mesh::Mesh;

/// Those of the registrations that stand once all news have arrived. Of a name for which
/// The length of a path, and the path.
type Path = (usize, Vec<PeerId>);

/// some may or may not be had, only those that are passed on by nobody are told.
pub(super) fn standing(mesh: &Mesh, chances: &BTreeMap<Wanted, Chance>) -> BTreeSet<Wanted> {
    let is_open = |chance: Chance| matches!(chance, Chance::Distrusted | Chance::Unclear);
    let open = chances.iter().filter(|(_, chance)| is_open(**chance));
    let open: BTreeSet<&str> = open.map(|(one, _)| one.name.as_str()).collect();
    let good = chances.iter().filter(|(_, chance)| **chance == Chance::Good);
    let mut good: Vec<&Wanted> = good.map(|(one, _)| one).collect();
    // Whether one is passed on depends only on those that are as short.
    good.sort_by_key(|one| one.hops());
    let mut standing = Standing { mesh, all: BTreeSet::new(), by_place: BTreeMap::new() };
    for one in good {
        let is_told = match one.behind() {
            None => true,
            Some(_) if open.contains(one.name.as_str()) => false,
            Some(behind) => standing.passes_on(one, behind),
        };
        if is_told {
            standing.add(one);
        }
    }
    standing.all
}

struct Standing<'a> {
    mesh: &'a Mesh,
    all: BTreeSet<Wanted>,
    /// The paths of a name at a listening peer, in the order of its choice.
    by_place: BTreeMap<(&'a str, &'a str), BTreeSet<Path>>,
}

impl<'a> Standing<'a> {
    fn add(&mut self, one: &'a Wanted) {
        self.all.insert(one.clone());
        let path = one.path(self.mesh);
        // What a peer serves itself, it does not pass on.
        if one.connecting.is_some() {
            let place = (one.listening.as_str(), one.name.as_str());
            self.by_place.entry(place).or_default().insert((path.len(), path));
        }
    }

    /// Whether `behind` is the path that the connecting peer of `one` tells of.
    fn passes_on(&self, one: &Wanted, behind: &Wanted) -> bool {
        let Some(Connecting { peer, .. }) = &one.connecting else { return false };
        let spec = &self.mesh.scenario().peers[&one.listening];
        let listening = spec.id.as_deref().unwrap_or(&one.listening);
        let is_free = |path: &&(usize, Vec<PeerId>)| {
            path.0 < PATH_PEERS && path.1.iter().all(|peer| peer.as_str() != listening)
        };
        let paths = self.by_place.get(&(peer.as_str(), behind.name.as_str()));
        let chosen = paths.and_then(|paths| paths.iter().find(is_free));
        self.all.contains(behind) && chosen.is_some_and(|(_, path)| *path == behind.path(self.mesh))
    }
}
