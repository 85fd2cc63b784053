//! From a name to a stream that its backend answers on: FORWARD to a provider's
//! link and wait for the DATA connection, or dial a backend of our own.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::asked::Asked;
use super::fetch::{Fetched, NotFetched, Upstream, fetch_data};
use super::held::assign;
use super::reach::reach;
use crate::backend::connect_backend;
use crate::mesh::links::Idle;
use crate::mesh::notice::Notice;
use crate::mesh::outgoing::Registered;
use crate::mesh::request::{Request, Story};
use crate::mesh::routes::{Lookup, Provider};
use crate::mesh::tables::Assignment;
use crate::mesh::waiting::ForwardError;
use crate::names::{Name, ProxyId};
use crate::observe::access::Provided;
use crate::observe::journal::{Kind, Known, Refusal, ServedBy};
use crate::observe::metrics::{Incident, ProxyError, Rejection};
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::stream::relay::{Meter, Side};
use crate::stream::transport::Transport;
use crate::trust::Permission;
use crate::wire::{FailReason, Requested};
use crate::workers::Place;

/// Why nobody serves a name whose backend fails its checks, for operators.
const UNHEALTHY: &str = "unhealthy";

/// A routed request and what leads to its backend.
pub struct Forwarded<N: Net, B = Side<Transport<<N as Net>::Stream>>> {
    /// Ends when the relay does.
    pub request: Request,
    /// The DATA connection, or the connection to a backend of our own.
    pub backend: B,
    /// The id under which its provider knows it.
    pub id: ProxyId,
    /// The request's first bytes are on their way already, and counted.
    pub head_sent: bool,
    /// Keeps the request active with its provider until dropped.
    pub assigned: Assigned<N>,
    /// By which the request is known if it comes back to this very peer.
    pub outgoing: Option<Registered>,
}

/// What a request goes to from here: a DATA connection, or a backend of our own, which is
/// reached in the way of its protocol.
pub trait Onward<N: Net>: Sized {
    /// The DATA connection.
    fn through(data: Side<Transport<N::Stream>>) -> Self;

    /// The backend of our own for a request, and what tells the request from others if it comes
    /// back here.
    fn own(
        shared: &Shared<N>,
        id: ProxyId,
        requested: &Requested,
    ) -> impl Future<Output = Result<(Self, Option<Registered>), FailReason>> + Send;
}

impl<N: Net> Onward<N> for Side<Transport<N::Stream>> {
    fn through(data: Self) -> Self {
        data
    }

    async fn own(
        shared: &Shared<N>,
        id: ProxyId,
        requested: &Requested,
    ) -> Result<(Self, Option<Registered>), FailReason> {
        let (stream, outgoing) = connect_backend(shared, id, requested, &requested.name).await?;
        Ok((Self::raw(Transport::Plain(stream), Bytes::new()), outgoing))
    }
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
    /// Whoever served it has withdrawn it, because its backend fails its checks.
    #[error("the backend of this name fails its health checks")]
    Unhealthy {
        /// When the client may ask again, in seconds.
        retry_after: u16,
    },
    /// The name is not to be reached in this way.
    #[error("this name cannot be reached in this way")]
    NotThisWay,
    /// The name is not for this client.
    #[error("this client may not reach this name")]
    NotAllowed,
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
    /// What the DATA connection showed, where that is not what its link showed.
    shows: Option<Box<Permission>>,
}

impl<N: Net> Assigned<N> {
    fn new(shared: &Arc<Shared<N>>, assignment: Assignment) -> Self {
        Self { shared: shared.clone(), assignment, shows: None }
    }

    /// Whether the backend is to learn from each HTTP request who the client is.
    pub fn is_told_of_clients(&self) -> bool {
        self.assignment.forwarded
    }

    /// Keeps the DATA connection of a request that has ended for the next one, if it
    /// can carry another.
    pub fn keep(&self, data: Side<Transport<N::Stream>>) {
        let Provider::Link(link) = self.assignment.provider else { return };
        let Side { stream, frames } = data;
        // Who speaks out of turn is not asked again.
        if frames.into_spent().is_some_and(|ahead| ahead.is_empty()) {
            let shows = self.shows.clone();
            let idle = Idle { stream, since: Instant::now(), shows, place: Place::here() };
            self.shared.mesh.keep_idle(link, idle);
        }
    }
}

impl<N: Net> Assigned<N> {
    /// What says that its provider takes no more requests for the name.
    pub fn notice(&self) -> Arc<Notice> {
        self.shared.mesh.notice(&self.assignment)
    }
}

impl<N: Net> Drop for Assigned<N> {
    fn drop(&mut self) {
        self.shared.mesh.release(&self.assignment);
    }
}

/// Routes a request and connects it, unless its client is `reset` meanwhile. A provider that
/// fails before any byte has flowed is replaced by one other, if there is one or, where one
/// is expected back, once there is.
///
/// # Errors
/// [`NotForwarded`], counted.
pub async fn forward<N: Net, B: Onward<N>>(
    shared: &Arc<Shared<N>>,
    mut asked: Asked<'_>,
    mut reset: Pin<&mut impl Future<Output = ()>>,
) -> Result<Forwarded<N, B>, NotForwarded> {
    let refused = |rejection, why| {
        shared.metrics.rejected(rejection);
        tell(shared, &asked, rejection.as_str());
        tracing::debug!(name = %asked.name, way = %asked.way, source = %asked.source, reason = %rejection, "refused a request");
        Err(why)
    };
    let first = match assign(shared, asked, None, reset.as_mut()).await {
        Lookup::Provided(assignment) => Assigned::new(shared, assignment),
        Lookup::NoProvider(stats) => {
            stats.no_client();
            let why = unserved(shared, &asked, NotForwarded::NoProvider);
            let is_unwell = why != NotForwarded::NoProvider;
            let no_client = ProxyError::NoClient.as_str();
            tell(shared, &asked, if is_unwell { UNHEALTHY } else { no_client });
            return Err(why);
        }
        Lookup::Unknown => {
            shared.metrics.other().no_client();
            return Err(unserved(shared, &asked, NotForwarded::UnknownName));
        }
        Lookup::NotThisWay => return refused(Rejection::WayNotOffered, NotForwarded::NotThisWay),
        Lookup::NotAllowed => return refused(Rejection::NotAllowed, NotForwarded::NotAllowed),
        Lookup::Full => return refused(Rejection::PendingLimit, NotForwarded::Full),
    };
    let stats = first.assignment.stats.clone();
    let id = id_of(shared, &asked);
    let span = shared.span(asked.trace);
    asked.trace = span.as_ref().map(|span| span.context).or(asked.trace);
    let running = shared.journal.begin(Known {
        kind: Kind::Routed,
        id,
        client: asked.source,
        name: shared_name(&first.assignment, asked.name),
        way: asked.way,
        by: by(&first.assignment),
        asked_by: None,
        span,
    });
    let request = Request::begin(shared.metrics.clone(), stats, asked.protocol, running);
    let with_id = |id| Asked { id: Some(id), ..asked };
    let failed = match connect(&first, id, with_id(id), reset.as_mut()).await {
        Ok(fetched) => return Ok(Forwarded::new(request, asked, fetched, first)),
        Err(failed) => failed,
    };
    let (mut error, mut provider) = (failed.error, first.assignment.provider);
    if failed.untouched
        && error != ForwardError::ClientReset
        && asked.deadline.is_none_or(|deadline| Instant::now() < deadline)
        && let Lookup::Provided(assignment) =
            assign(shared, asked, Some(provider), reset.as_mut()).await
    {
        let second = Assigned::new(shared, assignment);
        let id = id_of(shared, &asked);
        request.running().tried_again(id, by(&second.assignment));
        match connect(&second, id, with_id(id), reset).await {
            Ok(fetched) => return Ok(Forwarded::new(request, asked, fetched, second)),
            Err(failed) => (error, provider) = (failed.error, second.assignment.provider),
        }
    }
    let refused = (provider == Provider::Upstream).then(|| refused_upstream(error)).flatten();
    request.failed_as(error.into(), detail(error));
    Err(refused.unwrap_or_else(|| error.into()))
}

/// The id of a request on its next hop: that of the hop before, where there is one.
fn id_of<N: Net>(shared: &Shared<N>, asked: &Asked<'_>) -> ProxyId {
    asked.id.unwrap_or_else(|| shared.proxy_id())
}

/// The name that was asked for, in the memory of the registered one if it is the same.
fn shared_name(assignment: &Assignment, asked: &Name) -> Name {
    if assignment.name == *asked { &assignment.name } else { asked }.clone()
}

fn by(assignment: &Assignment) -> ServedBy {
    match (assignment.provider, &assignment.peer) {
        (Provider::Local, _) => ServedBy::Local,
        (Provider::Link(_), Some(peer)) => ServedBy::Peer(peer.clone()),
        // A link that has just ended is nobody's.
        (Provider::Link(_), None) | (Provider::Upstream, _) => ServedBy::Upstream,
    }
}

/// What the provider has said.
fn detail(error: ForwardError) -> Option<&'static str> {
    match error {
        ForwardError::Failed(reason) => Some(reason.as_str()),
        _ => None,
    }
}

/// Tells operators of a request for a known name that is not routed.
fn tell<N: Net>(shared: &Shared<N>, asked: &Asked<'_>, reason: &'static str) {
    let (client, name, way) = (asked.source, asked.name.clone(), asked.way);
    shared.journal.refused(Refusal { client, name, way, reason });
}

/// Why a listening peer has not routed a request, where that is no fault.
fn refused_upstream(error: ForwardError) -> Option<NotForwarded> {
    let ForwardError::Failed(reason) = error else { return None };
    match reason {
        FailReason::UnknownName | FailReason::NotPermitted => Some(NotForwarded::UnknownName),
        FailReason::NoProvider => Some(NotForwarded::NoProvider),
        FailReason::NotAllowed => Some(NotForwarded::NotAllowed),
        FailReason::BackendRefused
        | FailReason::BackendTimeout
        | FailReason::Overloaded
        | FailReason::Loop => None,
    }
}

/// Why nobody serves what is `asked` for: bad health, or else `otherwise`.
fn unserved<N: Net>(
    shared: &Shared<N>,
    asked: &Asked<'_>,
    otherwise: NotForwarded,
) -> NotForwarded {
    let unhealthy = shared.mesh.unhealthy(asked.name);
    unhealthy.map_or(otherwise, |retry_after| NotForwarded::Unhealthy { retry_after })
}

impl<N: Net, B> Forwarded<N, B> {
    /// Has the access log told of the request, if there is one; or of the HTTP requests
    /// within it, one by one.
    pub fn log(mut self, asked: &Asked<'_>, by_request: bool) -> Self {
        if let Some(log) = &self.assigned.shared.access {
            let provider = self.assigned.assignment.peer.clone();
            self.request.tell(Story {
                log: log.clone(),
                id: self.id,
                client: asked.source,
                name: asked.name.clone(),
                way: asked.way,
                by_request,
                provider: provider.map_or(Provided::Local, Provided::Peer),
            });
        }
        self
    }

    fn new(
        request: Request,
        asked: Asked<'_>,
        fetched: Fetched<B>,
        mut assigned: Assigned<N>,
    ) -> Self {
        let Fetched { id, data, head_sent, shows, outgoing, upstream } = fetched;
        assigned.shows = shows;
        if let Some(Upstream { hub, forwarded }) = upstream {
            (assigned.assignment.peer, assigned.assignment.forwarded) = (hub, forwarded);
        }
        request.running().is_connected(assigned.assignment.peer.clone());
        if head_sent > 0 {
            request.sent(asked.payload(id, head_sent));
        }
        Self { request, backend: data, id, head_sent: head_sent > 0, assigned, outgoing }
    }
}

async fn connect<N: Net, B: Onward<N>>(
    assigned: &Assigned<N>,
    id: ProxyId,
    asked: Asked<'_>,
    reset: Pin<&mut impl Future<Output = ()>>,
) -> Result<Fetched<B>, NotFetched> {
    let Assigned { shared, assignment, .. } = assigned;
    let connected = match assignment.provider {
        Provider::Local => tokio::select! {
            biased;
            dialled = reach_own_backend(shared, id, asked.requested(&assignment.name)) => dialled,
            () = reset => Err(ForwardError::ClientReset.into()),
        },
        Provider::Link(link) => {
            let fetched = fetch_data(shared, assignment, link, asked, reset).await;
            fetched.map(|fetched| fetched.map(B::through))
        }
        Provider::Upstream => {
            let fetched = reach(shared, asked, reset).await;
            fetched.map(|fetched| fetched.map(B::through))
        }
    };
    if let Err(NotFetched { error, .. }) = &connected {
        let Assignment { name, provider, .. } = assignment;
        if shared.may_log(name, Incident::NotTaken) {
            tracing::info!(%name, ?provider, %error, "a provider could not serve a request");
        }
    }
    connected
}

async fn reach_own_backend<N: Net, B: Onward<N>>(
    shared: &Shared<N>,
    id: ProxyId,
    requested: Requested,
) -> Result<Fetched<B>, NotFetched> {
    let (data, outgoing) = B::own(shared, id, &requested).await.map_err(ForwardError::Failed)?;
    Ok(Fetched { outgoing, ..Fetched::data(id, data, 0) })
}

impl From<ForwardError> for ProxyError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NotWritten => Self::ForwardWriteError,
            ForwardError::Timeout => Self::DataTimeout,
            ForwardError::Failed(FailReason::Loop) => Self::Loop,
            ForwardError::Failed(_) => Self::BackendUnreachable,
            ForwardError::LinkLost => Self::LinkLost,
            ForwardError::ClientReset => Self::ClientReset,
        }
    }
}
