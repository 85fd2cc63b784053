//! OPEN: asks a listening peer to route a request of our own public side, on a connection of
//! its own, which then carries the request.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::target::{DialPeerError, DialledPeer, Target};
use crate::names::{PeerId, ProxyId};
use crate::observe::metrics::Incident;
use crate::shared::Shared;
use crate::stream::control::{first_line, write_line};
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;
use crate::wire::{FailReason, Line, LineBuffer, ReportedError, Requested};

/// A listening peer has routed the request.
pub struct Opened<N: Net> {
    /// What carries it.
    pub data: Side<Transport<N::Stream>>,
    /// Who did.
    pub hub: Option<PeerId>,
    /// The backend is to learn who the client is from the head of each HTTP request.
    pub forwarded: bool,
}

/// Why no listening peer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// None could be reached.
    Unreachable,
    /// No answer before the deadline.
    Late,
    /// What the last one said.
    Failed(FailReason),
}

/// Asks the listening peers for a request, in turn, until one has routed it.
///
/// # Errors
/// [`NotOpened`]. No byte of the request has been sent.
pub async fn open<N: Net>(
    shared: &Shared<N>,
    id: ProxyId,
    requested: &Requested,
    deadline: Instant,
) -> Result<Opened<N>, NotOpened> {
    let Some(_asking) = shared.hubs.ask(id) else {
        return Err(NotOpened::Failed(FailReason::Loop));
    };
    let mut last = NotOpened::Unreachable;
    for target in shared.hubs.in_turn().into_iter().map(Target::of) {
        let asked = timeout_at(deadline, ask(shared, &target, id, requested)).await;
        let error = match asked.unwrap_or(Err(DialPeerError::Late)) {
            Ok(Answer::Opened(opened)) => return Ok(opened),
            Ok(Answer::Failed(reason)) => {
                last = NotOpened::Failed(reason);
                continue;
            }
            Err(error) => error,
        };
        let name = &requested.name;
        if shared.may_log(&target.upstream, Incident::Open) {
            tracing::warn!(%id, %name, upstream = %target, %error, "cannot ask the listening peer for a request");
        }
        if Instant::now() >= deadline {
            return Err(NotOpened::Late);
        }
    }
    if last == NotOpened::Failed(FailReason::NotPermitted)
        && shared.may_log(&requested.name, Incident::NotPermitted)
    {
        tracing::warn!(%id, name = %requested.name, "the listening peer does not let this peer reach the name; have its certificate or token rule say so there: reach");
    }
    Err(last)
}

enum Answer<N: Net> {
    Opened(Opened<N>),
    Failed(FailReason),
}

async fn ask<N: Net>(
    shared: &Shared<N>,
    target: &Target,
    id: ProxyId,
    requested: &Requested,
) -> Result<Answer<N>, DialPeerError> {
    let own = &shared.peer_id;
    let DialledPeer { mut stream, token, .. } = target.dial(shared).await?;
    let token = token.map(|(token, exporter)| (own.clone(), token.open_proof(&exporter, id, own)));
    let line = Line::Open { id, requested: Box::new(requested.clone()), token };
    write_line(&mut stream, &line).await?;
    let mut lines = LineBuffer::default();
    let answer = first_line(&mut stream, &mut lines).await?;
    let opened = |forwarded, stream, rest: Bytes| {
        let data = Side::raw(stream, rest);
        Answer::Opened(Opened { data, hub: target.hub().cloned(), forwarded })
    };
    match Line::parse(&answer)? {
        Line::Data { id: answered, token: None, to: None } if answered == id => {
            Ok(opened(true, stream, lines.into_rest()))
        }
        Line::DataUntold(answered) if answered == id => {
            Ok(opened(false, stream, lines.into_rest()))
        }
        Line::Fail(answered, reason) if answered == id => Ok(Answer::Failed(reason)),
        Line::Error(code, text) => Err(DialPeerError::Refused(ReportedError { code, text })),
        _ => Err(DialPeerError::Unanswered),
    }
}
