//! What clients have seen once all is over.

use std::collections::BTreeMap;

use crate::client::{Ending, Outcome};
use crate::mesh::Mesh;

/// Compares the byte counters with what clients received, at the peers that were
/// started once.
///
/// # Errors
/// A name for which clients received more than was counted.
pub fn check_bytes(mesh: &Mesh, outcomes: &[Outcome]) -> Result<(), String> {
    let mut received: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.is_whole()) {
        let request = &outcome.request;
        if let Some((host, _)) = request.to.split_once(':') {
            *received.entry((host, &request.name)).or_default() += outcome.received;
        }
    }
    for ((host, name), received) in received {
        // The counters of a name go when it is forgotten.
        let spec = mesh.scenario().peers.get(host);
        let keeps = spec.is_some_and(|peer| peer.name_retention.is_none());
        let once = keeps && mesh.starts(host) == 1;
        let Some(handle) = mesh.peer(host).filter(|_| once) else { continue };
        let snapshot = handle.snapshot();
        let Some(row) = snapshot.names.iter().find(|row| row.name == name) else { continue };
        if row.counts.bytes_rx < received {
            let counted = row.counts.bytes_rx;
            return Err(format!("{name} at {host}: {received} B received, {counted} counted"));
        }
    }
    Ok(())
}

/// What a client must not have seen. `truncating`: a host ended in a way that
/// looks like a clean end of what it sent.
///
/// # Errors
/// What it saw.
pub fn check_outcome(outcome: &Outcome, truncating: bool) -> Result<(), String> {
    match &outcome.end {
        Ending::Corrupt(_) => Err(format!("bytes that nobody sent: {outcome}")),
        Ending::Cut if !truncating => Err(format!("a cut looked like a clean end: {outcome}")),
        Ending::Open => Err(format!("a request outlived all deadlines: {outcome}")),
        _ => Ok(()),
    }
}
