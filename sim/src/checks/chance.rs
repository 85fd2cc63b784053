//! Whether a registration can be had, as hosts, ways, certificates and backends are now.

use super::health::{Wellness, wellness};
use super::trust::lets_in;
use super::wanted::{Connecting, Wanted};
use crate::mesh::Mesh;

/// Whether a registration can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chance {
    Good,
    /// Certificates or tokens are in the way, and nothing else.
    Distrusted,
    /// Its backend fails its checks, and nothing else is in the way.
    Ill,
    /// Its checks may go either way.
    Unclear,
    None,
}

impl Chance {
    /// That of a registration now.
    pub(super) fn of(mesh: &Mesh, one: &Wanted) -> Self {
        match (of_links(mesh, one), wellness(mesh, one.served_by(), &one.name)) {
            (Self::Good, Wellness::Ill) => Self::Ill,
            (Self::Good, Wellness::Unclear) => Self::Unclear,
            (chance, _) => chance,
        }
    }
}

/// The worst of the links on its path: one that cannot be there ends the path for certain.
fn of_links(mesh: &Mesh, one: &Wanted) -> Chance {
    let mut worst = Chance::Good;
    for hop in one.all_hops() {
        match of_link(mesh, hop) {
            Chance::Good => {}
            Chance::Distrusted => worst = Chance::Distrusted,
            chance => return chance,
        }
    }
    worst
}

fn of_link(mesh: &Mesh, one: &Wanted) -> Chance {
    let lives = |host: &str| mesh.is_running(host) && !mesh.is_frozen(host);
    let runs = |host: &str| lives(host) && !mesh.is_leaving(host);
    if !lives(&one.listening) {
        return Chance::None;
    }
    if let Some((hub, dials)) = &one.asks {
        let own = &one.listening;
        return match runs(hub) && mesh.is_open(own, hub) {
            true if lets_in(mesh, own, hub, dials) => Chance::Good,
            true => Chance::Distrusted,
            false => Chance::None,
        };
    }
    let Some(Connecting { peer, dials, .. }) = &one.connecting else { return Chance::Good };
    if !runs(peer) || !mesh.is_open(peer, &one.listening) {
        return Chance::None;
    }
    if lets_in(mesh, peer, &one.listening, dials) { Chance::Good } else { Chance::Distrusted }
}
