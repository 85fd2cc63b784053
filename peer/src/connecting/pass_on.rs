//! Transit: a FORWARD for a name that another peer has registered here is routed like a
//! request of our own public side, under the id that it came with.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use super::reached::{Backend, By, Passed, Reached};
use crate::forward::{Forwarded, NotForwarded, forward_on};
use crate::mesh::waiting::ForwardError;
use crate::names::ProxyId;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::wire::{FailReason, Requested};

/// Whether a FORWARD for this name is to be passed on.
pub(super) fn is_passed_on<N: Net>(shared: &Shared<N>, requested: &Requested) -> bool {
    let config = shared.config();
    !config.services.contains_key(&requested.name) && config.passes_on(&requested.name)
}

/// Routes a request that a listening peer has sent here. `head` may go with it.
///
/// # Errors
/// What that peer is told.
pub(super) async fn pass_on<N: Net>(
    shared: &Arc<Shared<N>>,
    id: ProxyId,
    requested: &Requested,
    head: &[u8],
) -> Result<Reached<N>, FailReason> {
    let forwarded = forward_on(shared, id, requested, head, pin!(pending())).await;
    let Forwarded { request, backend, assigned, head_sent, .. } = forwarded.map_err(reason)?;
    let by = By::Another(Box::new(Passed { request, assigned }));
    Ok(Reached { backend: Backend::Stream(backend), head_sent, by })
}

fn reason(error: NotForwarded) -> FailReason {
    match error {
        NotForwarded::UnknownName
        | NotForwarded::NoProvider
        | NotForwarded::Unhealthy { .. }
        | NotForwarded::NotThisWay
        | NotForwarded::NotAllowed => FailReason::UnknownName,
        NotForwarded::Failed(ForwardError::Failed(reason)) => reason,
        NotForwarded::Failed(ForwardError::Timeout) => FailReason::BackendTimeout,
        NotForwarded::Full | NotForwarded::Failed(_) => FailReason::Overloaded,
    }
}
