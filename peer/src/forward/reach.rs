//! The other way: a listening peer is asked to route a request.

use std::pin::Pin;

use super::asked::Asked;
use super::fetch::{Data, Fetched, NotFetched, Upstream};
use crate::mesh::waiting::ForwardError;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::upstream::{NotOpened, Opened, open};

/// Asks the listening peers, and waits until one has routed the request.
///
/// # Errors
/// [`NotFetched`].
pub(super) async fn reach<N: Net>(
    shared: &Shared<N>,
    asked: Asked<'_>,
    reset: Pin<&mut impl Future<Output = ()>>,
) -> Result<Fetched<Data<N>>, NotFetched> {
    let id = asked.id.unwrap_or_else(|| shared.proxy_id());
    let deadline = asked.deadline(shared.config().timing.data_timeout);
    // By the name that the client asked for: the pattern is ours alone.
    let requested = asked.requested(asked.name);
    let opened = tokio::select! {
        biased;
        // Boxed, so that other requests do not hold the room for it.
        opened = Box::pin(open(shared, id, &requested, deadline)) => opened,
        () = reset => return Err(ForwardError::ClientReset.into()),
    };
    let Opened { data, hub, forwarded } = opened.map_err(|error| match error {
        NotOpened::Unreachable => ForwardError::LinkLost,
        NotOpened::Late => ForwardError::Timeout,
        NotOpened::Failed(reason) => ForwardError::Failed(reason),
    })?;
    Ok(Fetched { upstream: Some(Upstream { hub, forwarded }), ..Fetched::data(id, data, 0) })
}
