//! The numbers of one peer beside what was said on its connections.

use ops_proxy::observe::metrics::{ForwardFailure, Snapshot};

use crate::mesh::Mesh;

/// Compares what is counted of FORWARDs with what was said on the links.
pub(super) fn check_overheard(mesh: &Mesh, host: &str, now: &Snapshot) -> Result<(), String> {
    let state = mesh.fabric().state();
    for row in &now.names {
        let (name, counts) = (&row.name, &row.counts);
        let heard = state.forwards.tally(mesh.ip(host), name);
        if counts.matched > heard.answered {
            return Err(format!(
                "{name}: {} DATA connections matched, but the peers that were asked sent {}",
                counts.matched, heard.answered
            ));
        }
        let unsaid = [ForwardFailure::LinkLost, ForwardFailure::ClientReset];
        let unsaid: u64 = unsaid.iter().map(|one| counts.forwards_failed[*one as usize]).sum();
        let refused = counts.forwards_failed.iter().sum::<u64>() - unsaid;
        let fails = heard.refused + heard.taken_back;
        if refused > fails {
            return Err(format!(
                "{name}: {refused} forwards failed, but the peers that were asked sent {fails} FAIL"
            ));
        }
        let failed: u64 = counts.timed_out + counts.forwards_failed.iter().sum::<u64>();
        if failed < heard.refused {
            return Err(format!(
                "{name}: FAIL came {} times, but {failed} forwards have failed",
                heard.refused
            ));
        }
    }
    Ok(())
}

/// A request is given to another provider, if to a second at all.
pub(super) fn check_asked_once(mesh: &Mesh) -> Result<(), String> {
    let state = mesh.fabric().state();
    let Some(line) = state.forwards.twice() else { return Ok(()) };
    let trusting = mesh.scenario().peers.values().any(|peer| !peer.trusted_proxies.is_empty());
    match trusting {
        true => Ok(()),
        false => Err(format!("one provider was asked twice for one request: {line}")),
    }
}

/// An idle DATA connection that has ended costs a retry, never a request.
pub(super) fn check_asked_again(mesh: &Mesh) -> Result<(), String> {
    let state = mesh.fabric().state();
    match state.forwards.given_up() {
        Some(id) => Err(format!("FORWARD {id} was lost with its connection, and not sent again")),
        None => Ok(()),
    }
}
