//! From a name to a stream that its backend answers on: FORWARD to a provider's
//! link and wait for the DATA connection, or dial a backend of our own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::dial::dial;
use crate::mesh::{Assignment, Forward, ForwardError};
use crate::metrics::{Protocol, ProxyError, Rejection};
use crate::names::{Name, ProxyId};
use crate::net::Net;
use crate::relay::Side;
use crate::request::Request;
use crate::routes::{LinkId, Lookup, Provider};
use crate::shared::Shared;
use crate::transport::Transport;
use crate::wire::{FailReason, Line};

/// A routed request and the stream to its backend.
pub struct Forwarded<N: Net> {
    /// Ends when the relay does.
    pub request: Request,
    /// The DATA connection, or the connection to a backend of our own.
    pub backend: Side<Transport<N::Stream>>,
    /// Keeps the request active with its provider until dropped.
    pub assigned: Assigned<N>,
}

/// Why a request did not get as far as its backend. All is counted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotForwarded {
    /// Nobody has registered the name.
    #[error("no such name")]
    UnknownName,
    /// The name is known, but nobody serves it now.
    #[error("no peer serves this name now")]
    NoProvider,
    /// As many requests wait for DATA connections as may; this one was not
    /// routed.
    #[error("too many requests wait for DATA connections")]
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

impl<N: Net> Drop for Assigned<N> {
    fn drop(&mut self) {
        self.shared.mesh.release(&self.assignment);
    }
}

/// Routes a request and connects it. A provider that fails before any byte has
/// flowed is replaced by one other, if there is one.
///
/// # Errors
/// [`NotForwarded`], counted.
pub async fn forward<N: Net>(
    shared: &Arc<Shared<N>>,
    requested: &Name,
    protocol: Protocol,
    source: SocketAddr,
) -> Result<Forwarded<N>, NotForwarded> {
    let first = match shared.mesh.assign(requested, None) {
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
    let request = Request::begin(shared.metrics.clone(), stats, protocol);
    let error = match connect(&first, source).await {
        Ok(backend) => return Ok(Forwarded { request, backend, assigned: first }),
        Err(error) => error,
    };
    let error = match shared.mesh.assign(requested, Some(first.assignment.provider)) {
        Lookup::Provided(assignment) => {
            let second = Assigned { shared: shared.clone(), assignment };
            match connect(&second, source).await {
                Ok(backend) => return Ok(Forwarded { request, backend, assigned: second }),
                Err(error) => error,
            }
        }
        Lookup::NoProvider(_) | Lookup::Unknown | Lookup::Full => error,
    };
    request.failed(error.into());
    Err(error.into())
}

async fn connect<N: Net>(
    assigned: &Assigned<N>,
    source: SocketAddr,
) -> Result<Side<Transport<N::Stream>>, ForwardError> {
    let Assigned { shared, assignment } = assigned;
    let connected = match assignment.provider {
        Provider::Local => dial_own_backend(shared, &assignment.name).await,
        Provider::Link(link) => fetch_data(shared, assignment, link, source).await,
    };
    if let Err(error) = &connected {
        let Assignment { name, provider, .. } = assignment;
        tracing::info!(%name, ?provider, %error, "a provider did not take a request");
    }
    connected
}

async fn dial_own_backend<N: Net>(
    shared: &Shared<N>,
    name: &Name,
) -> Result<Side<Transport<N::Stream>>, ForwardError> {
    let backend = shared.config.services.get(name);
    let backend = backend.ok_or(ForwardError::Failed(FailReason::UnknownName))?;
    let stream = dial(&shared.net, backend).await.map_err(|error| {
        tracing::warn!(%name, %error, "a backend cannot be reached");
        ForwardError::Failed(error.fail_reason())
    })?;
    Ok(Side::raw(Transport::Plain(stream), Bytes::new()))
}

/// Sends FORWARD and waits for its DATA connection. Whatever happens, the id has
/// left the table of pending ids when this returns or is dropped.
async fn fetch_data<N: Net>(
    shared: &Shared<N>,
    assignment: &Assignment,
    link: LinkId,
    source: SocketAddr,
) -> Result<Side<Transport<N::Stream>>, ForwardError> {
    let id = shared.proxy_id();
    let line = Line::Forward { id, name: assignment.name.clone(), source };
    let deadline = Instant::now() + shared.config.timing.data_timeout;
    let mut answer = shared.mesh.forward(link, assignment, Forward { id, line }, deadline)?;
    let _waiting = Waiting { shared, id };
    match timeout_at(deadline, &mut answer).await {
        Ok(answer) => answer.unwrap_or(Err(ForwardError::LinkLost)),
        Err(_) => match shared.mesh.expire(id) {
            Some(error) => Err(error),
            // Taken in the very last moment; the answer is on its way.
            None => answer.await.unwrap_or(Err(ForwardError::LinkLost)),
        },
    }
}

/// Takes its id out of the table when the request goes away while waiting.
struct Waiting<'a, N: Net> {
    shared: &'a Shared<N>,
    id: ProxyId,
}

impl<N: Net> Drop for Waiting<'_, N> {
    fn drop(&mut self) {
        self.shared.mesh.expire(self.id);
    }
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
