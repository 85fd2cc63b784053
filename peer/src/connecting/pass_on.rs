//! Transit: a FORWARD for a name that another peer has registered here is routed like a
//! request of our own public side, under the id that it came with.

use std::borrow::Cow;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::reached::{Backend, By, Passed, Reached};
use crate::forward::{Asked, Forwarded, NotForwarded, forward};
use crate::mesh::waiting::ForwardError;
use crate::names::ProxyId;
use crate::observe::metrics::{Incident, Protocol};
use crate::offer::Way;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::wire::{FailReason, Requested};

/// Whether a FORWARD for this name is to be passed on.
pub(super) fn is_passed_on<N: Net>(shared: &Shared<N>, requested: &Requested) -> bool {
    let config = &shared.config;
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
    let Requested { way, source, dest, tls, .. } = *requested;
    let name = requested.authority.as_ref().unwrap_or(&requested.name);
    if shared.mesh.is_waiting(id) {
        if shared.may_log(name, Incident::Loop) {
            tracing::warn!(%id, %name, "a request came back to this peer on its way through others");
        }
        return Err(FailReason::Loop);
    }
    let protocol = match way {
        Way::Http if tls.is_some() => Protocol::Https,
        Way::Http | Way::Connect => Protocol::Http,
        Way::Https => Protocol::Https,
        Way::Tcp => Protocol::Tcp,
        Way::Udp => Protocol::Udp,
    };
    // The peer before gives up a moment later, and must have heard of it.
    let deadline = Some(Instant::now() + shared.config.timing.answer());
    let head = |_, _| Cow::Borrowed(head);
    let asked =
        Asked { id: Some(id), deadline, name, way, protocol, source, dest, tls, head: &head };
    let forwarded: Forwarded<N> = forward(shared, asked, pin!(pending())).await.map_err(reason)?;
    let Forwarded { request, backend, assigned, head_sent, .. } = forwarded.log(&asked, false);
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
