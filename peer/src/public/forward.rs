//! From a name to a stream that its backend answers on: FORWARD to a provider's
//! link and wait for the DATA connection, or dial a backend of our own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::fetch::{Fetched, NotFetched, fetch_data};
use crate::mesh::request::Request;
use crate::mesh::routes::{Lookup, Provider};
use crate::mesh::tables::{Assignment, ForwardError, Idle};
use crate::names::Name;
use crate::observe::metrics::{Protocol, ProxyError, Rejection};
use crate::shared::Shared;
use crate::stream::dial::dial;
use crate::stream::net::Net;
use crate::stream::relay::{Meter, Side};
use crate::stream::transport::Transport;
use crate::wire::FailReason;

/// A routed request and the stream to its backend.
pub struct Forwarded<N: Net> {
    /// Ends when the relay does.
    pub request: Request,
    /// The DATA connection, or the connection to a backend of our own.
    pub backend: Side<Transport<N::Stream>>,
    /// Whether the request's first bytes are on their way already, and counted.
    pub head_sent: bool,
    /// Keeps the request active with its provider until dropped.
    pub assigned: Assigned<N>,
}

/// Why a request did not get as far as its backend. All is counted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotForwarded {
    /// Nobody has registered the name.
    #[error("unknown name")]
    UnknownName,
    /// The name is known, but nobody serves it now.
    #[error("no peer serves this name now")]
    NoProvider,
    /// As many requests wait for DATA connections as may; this one was not
    /// routed.
    #[error("too many requests are waiting for DATA connections")]
    Full,
    /// No provider that was tried took it; how the last one failed.
    #[error(transparent)]
    Failed(#[from] ForwardError),
}

/// A request given to a provider, until dropped.
pub struct Assigned<N: Net> {
    shared: Arc<Shared<N>>,
    assignment: Assignment,
}

impl<N: Net> Assigned<N> {
    /// Keeps the DATA connection of a request that has ended for the next one, if it
    /// can carry another.
    pub fn keep(&self, data: Side<Transport<N::Stream>>) {
        let Provider::Link(link) = self.assignment.provider else { return };
        let Side { stream, frames } = data;
        // Who speaks out of turn is not asked again.
        if frames.into_spent().is_some_and(|ahead| ahead.is_empty()) {
            let _ = self.shared.mesh.keep_idle(link, Idle { stream, since: Instant::now() });
        }
    }
}

impl<N: Net> Drop for Assigned<N> {
    fn drop(&mut self) {
        self.shared.mesh.release(&self.assignment);
    }
}

/// A public client's request, as far as it is known when it is routed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name that it asks for.
    pub name: &'a Name,
    /// How it came.
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// Its bytes that were read already.
    pub head: &'a [u8],
}

/// Routes a request and connects it. A provider that fails before any byte has
/// flowed is replaced by one other, if there is one.
///
/// # Errors
/// [`NotForwarded`], counted.
pub async fn forward<N: Net>(
    shared: &Arc<Shared<N>>,
    asked: Asked<'_>,
) -> Result<Forwarded<N>, NotForwarded> {
    let first = match shared.mesh.assign(asked.name, None) {
        Lookup::Provided(assignment) => Assigned { shared: shared.clone(), assignment },
        Lookup::NoProvider(stats) => {
            stats.no_client();
            return Err(NotForwarded::NoProvider);
        }
        Lookup::Unknown => {
            shared.metrics.other().no_client();
            return Err(NotForwarded::UnknownName);
        }
        Lookup::Full => {
            shared.metrics.rejected(Rejection::PendingLimit);
            return Err(NotForwarded::Full);
        }
    };
    let stats = first.assignment.stats.clone();
    let request = Request::begin(shared.metrics.clone(), stats, asked.protocol);
    let failed = match connect(&first, asked).await {
        Ok(fetched) => return Ok(Forwarded::new(request, fetched, first, asked)),
        Err(failed) => failed,
    };
    let mut error = failed.error;
    if failed.untouched
        && let Lookup::Provided(assignment) =
            shared.mesh.assign(asked.name, Some(first.assignment.provider))
    {
        let second = Assigned { shared: shared.clone(), assignment };
        match connect(&second, asked).await {
            Ok(fetched) => return Ok(Forwarded::new(request, fetched, second, asked)),
            Err(failed) => error = failed.error,
        }
    }
    request.failed(error.into());
    Err(error.into())
}

impl<N: Net> Forwarded<N> {
    fn new(request: Request, fetched: Fetched<N>, assigned: Assigned<N>, asked: Asked<'_>) -> Self {
        let Fetched { data, head_sent } = fetched;
        if head_sent {
            request.sent(asked.head.len());
        }
        Self { request, backend: data, head_sent, assigned }
    }
}

async fn connect<N: Net>(
    assigned: &Assigned<N>,
    asked: Asked<'_>,
) -> Result<Fetched<N>, NotFetched> {
    let Assigned { shared, assignment } = assigned;
    let connected = match assignment.provider {
        Provider::Local => dial_own_backend(shared, &assignment.name).await,
        Provider::Link(link) => {
            fetch_data(shared, assignment, link, asked.source, asked.head).await
        }
    };
    if let Err(NotFetched { error, .. }) = &connected {
        let Assignment { name, provider, .. } = assignment;
        tracing::info!(%name, ?provider, %error, "a provider could not serve a request");
    }
    connected
}

async fn dial_own_backend<N: Net>(
    shared: &Shared<N>,
    name: &Name,
) -> Result<Fetched<N>, NotFetched> {
    let backend = shared.config.services.get(name);
    let backend = backend.ok_or(ForwardError::Failed(FailReason::UnknownName))?;
    let stream = dial(&shared.net, backend).await.map_err(|error| {
        tracing::warn!(%name, %error, "cannot reach the backend; check its address, and that it is running");
        ForwardError::Failed(error.fail_reason())
    })?;
    let data = Side::raw(Transport::Plain(stream), Bytes::new());
    Ok(Fetched { data, head_sent: false })
}

impl From<ForwardError> for ProxyError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NotWritten => Self::ForwardWriteError,
            ForwardError::Timeout => Self::DataTimeout,
            ForwardError::Failed(_) => Self::BackendUnreachable,
            ForwardError::LinkLost => Self::LinkLost,
        }
    }
}
