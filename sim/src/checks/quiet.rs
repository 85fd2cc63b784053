//! Whether anything is going on.

use ops_proxy::observe::metrics::Snapshot;

use crate::mesh::Mesh;

/// Whether nothing is going on at any peer.
pub fn is_quiet(mesh: &Mesh) -> bool {
    let quiet = |snapshot: Snapshot| {
        snapshot.pending == 0 && snapshot.names.iter().all(|row| row.counts.active == 0)
    };
    let mut peers = mesh.scenario().peers.keys().filter_map(|host| mesh.peer(host));
    peers.all(|peer| quiet(peer.snapshot()))
}
