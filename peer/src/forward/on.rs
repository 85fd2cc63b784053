//! A request that another peer has sent here: it keeps its id, and its answer must be there
//! before that peer gives up.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::asked::Asked;
use super::route::{Forwarded, NotForwarded, forward};
use crate::mesh::waiting::ForwardError;
use crate::names::ProxyId;
use crate::observe::metrics::{Incident, Protocol};
use crate::offer::Way;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::wire::{FailReason, Requested};

/// Routes a request that another peer has sent here, whose first bytes are `head`, unless
/// that peer has `gone` meanwhile. It is counted and logged like those of our own clients.
///
/// # Errors
/// [`NotForwarded`], counted; also when the request has been here before.
pub async fn forward_on<N: Net>(
    shared: &Arc<Shared<N>>,
    id: ProxyId,
    requested: &Requested,
    head: &[u8],
    gone: Pin<&mut impl Future<Output = ()>>,
) -> Result<Forwarded<N>, NotForwarded> {
    let Requested { way, source, dest, tls, trace, .. } = *requested;
    let name = requested.authority.as_ref().unwrap_or(&requested.name);
    if shared.is_under_way(id) {
        if shared.may_log(name, Incident::Loop) {
            tracing::warn!(%id, %name, "a request came back to this peer on its way through others");
        }
        return Err(ForwardError::Failed(FailReason::Loop).into());
    }
    let protocol = match way {
        Way::Http if tls.is_some() => Protocol::Https,
        Way::Http | Way::Connect => Protocol::Http,
        Way::Https => Protocol::Https,
        Way::Tcp => Protocol::Tcp,
        Way::Udp => Protocol::Udp,
    };
    // The peer before gives up a moment later, and must have heard of it.
    let deadline = Some(Instant::now() + shared.config().timing.answer());
    let head = |_, _| Cow::Borrowed(head);
    let asked = Asked {
        id: Some(id),
        deadline,
        name,
        way,
        protocol,
        source,
        dest,
        tls,
        trace,
        head: &head,
    };
    let forwarded = forward(shared, asked, gone).await?;
    Ok(forwarded.log(&asked, false))
}
