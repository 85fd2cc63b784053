//! Requests that wait for a provider to come back: after a start of this peer, or while
//! the only provider of a name restarts.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::timeout_at;

use super::asked::Asked;
use crate::mesh::returning::Patience;
use crate::mesh::routes::{Lookup, Provider};
use crate::observe::metrics::NameStats;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;

/// Gives a request to a provider that was not `tried`. If there is none, but one is expected
/// back, it is waited for: until then, until its client is `reset`, or until this peer
/// finishes.
pub(super) async fn assign<N: Net>(
    shared: &Shared<N>,
    asked: Asked<'_>,
    tried: Option<Provider>,
    mut reset: Pin<&mut impl Future<Output = ()>>,
) -> Lookup<Arc<NameStats>> {
    let lookup = shared.mesh.assign(asked.wanted(tried));
    if !matches!(lookup, Lookup::NoProvider(_)) {
        return lookup;
    }
    let timing = shared.config().timing;
    let patience = Patience { arrival: timing.data_timeout, loss: timing.hold };
    // From here on, so that no provider is missed.
    let mut changes = shared.mesh.changes();
    let Some((until, _held)) = shared.mesh.hold(asked.name, patience) else { return lookup };
    let until = asked.deadline.map_or(until, |before| before.min(until));
    tracing::debug!(name = %asked.name, "a request waits for its provider to come back");
    loop {
        let lookup = shared.mesh.assign(asked.wanted(tried));
        if !matches!(lookup, Lookup::NoProvider(_)) {
            return lookup;
        }
        tokio::select! {
            biased;
            () = reset.as_mut() => return lookup,
            () = shared.tasks.entered(Phase::Finishing) => return lookup,
            changed = timeout_at(until, changes.changed()) => if changed.is_err() {
                return lookup;
            },
        }
    }
}
