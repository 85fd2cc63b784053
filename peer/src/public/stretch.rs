//! A stretch of HTTP requests for one name, from its first byte to its last, and what
//! becomes of the client then.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::ahead::refusal_of;
use super::carry::carry;
use super::edge::{Edge, Kind, Stretch};
use super::refusal::{After, Cause, Speaks, http_answer, http_status};
use crate::forward::{Assigned, Forwarded};
use crate::limits::STRETCH_END;
use crate::mesh::outgoing::Registered;
use crate::observe::metrics::ProxyError;
use crate::shared::Shared;
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::relay::{Leaving, Meter, Over, RelayError, Side};
use crate::stream::transport::{Transport, hold_conversation};

impl<N: Net> Edge<N> {
    /// Serves the client until its connection ends.
    pub(super) async fn serve(self) {
        let mut edge = self;
        // Boxed: what routes is large, and gone while bytes flow.
        while let Some(stretch) = Box::pin(edge.route()).await {
            match stretch.carry().await {
                Some(next) => edge = next,
                None => return,
            }
        }
    }
}

impl<N: Net> Stretch<N> {
    /// Carries it to its end; the client, if it goes on.
    pub(super) async fn carry(self) -> Option<Edge<N>> {
        let Self { edge, forwarded, kind } = self;
        let Edge { shared, stream, source, dest, trusted, front, read, ticket, busy } = edge;
        let (mut conversation, ahead) = match kind {
            Kind::Conversation(conversation, ahead) => (conversation, ahead),
            Kind::Tunnel(exchange) => {
                let ahead = if forwarded.head_sent { Bytes::new() } else { read.freeze() };
                let client = Side::raw(stream, ahead);
                carry(&shared, client, forwarded, Speaks::Connect, Some(exchange)).await;
                return None;
            }
        };
        let mut client = Side::raw(stream, Bytes::new());
        let Forwarded { request, mut backend, assigned, outgoing, .. } = forwarded;
        let notice = assigned.notice();
        let carried = hold_conversation(
            &shared.net,
            &mut client,
            &mut backend,
            ahead,
            &mut conversation,
            &request,
            Leaving {
                soon: shared.tasks.is_draining(),
                peer: shared.tasks.is_finishing(),
                provider: notice.given(),
            },
        );
        let over = shared.tasks.told_to_finish(carried, notice.heard()).await;
        let stream = client.stream;
        let is_idle = conversation.is_idle();
        let is_head = conversation.owes_head();
        let can_answer = conversation.owes_answer() && !conversation.is_answering();
        let own_answer = match &over {
            Some(Ok(Over::BadAnswer(_))) => Some(Cause::BadAnswer),
            Some(Ok(Over::Flawed(flaw))) if can_answer => Some(refusal_of(*flaw).1),
            Some(Err(RelayError::Backend(_))) if can_answer => Some(Cause::NoAnswer),
            _ => None,
        };
        conversation.at(Instant::now());
        conversation.end(own_answer.map(http_status), matches!(over, Some(Ok(_))));
        conversation.finished().for_each(|exchange| request.exchanged(exchange));
        let read = match over {
            Some(Ok(Over::Closed)) => {
                assigned.keep(backend);
                request.succeeded();
                return None;
            }
            Some(Ok(Over::Next(read))) => {
                request.succeeded();
                if is_idle {
                    shared.spawn(end_stretch(shared.clone(), backend, assigned, outgoing));
                } else {
                    // It has a part of a request that is no longer answered.
                    shared.abort(backend.stream);
                }
                read
            }
            Some(Ok(Over::Broken(read))) => {
                tracing::debug!(name = %conversation.name(), "the backend's connection broke while idle");
                request.succeeded();
                shared.abort(backend.stream);
                read
            }
            Some(Ok(Over::Idle)) => {
                request.succeeded();
                shared.spawn(end_stretch(shared.clone(), backend, assigned, outgoing));
                close_after(stream, b"").await;
                return None;
            }
            Some(Ok(Over::Late)) => {
                request.succeeded();
                shared.spawn(end_stretch(shared.clone(), backend, assigned, outgoing));
                let read = BytesMut::new();
                let edge =
                    Edge { shared, stream, source, dest, trusted, front, read, ticket, busy };
                let cause = edge.late();
                edge.refuse(cause).await;
                return None;
            }
            Some(Ok(Over::Unasked(read))) => {
                tracing::debug!(name = %conversation.name(), "the backend sent an answer that nobody asked for");
                request.succeeded();
                shared.abort(backend.stream);
                read
            }
            Some(Ok(Over::Flawed(flaw))) if is_idle => {
                request.succeeded();
                shared.spawn(end_stretch(shared.clone(), backend, assigned, outgoing));
                let read = BytesMut::new();
                let edge =
                    Edge { shared, stream, source, dest, trusted, front, read, ticket, busy };
                let cause = edge.flawed(flaw);
                edge.refuse(cause).await;
                return None;
            }
            Some(Ok(Over::Flawed(flaw))) => {
                // It is within a body: the backend must not take what it has for the whole.
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
                let read = BytesMut::new();
                let edge =
                    Edge { shared, stream, source, dest, trusted, front, read, ticket, busy };
                let cause = edge.flawed(flaw);
                match can_answer {
                    // It is counted as the answer to the request whose body it is.
                    true => {
                        let answer = http_answer(cause, is_head, After::Close);
                        close_after(edge.stream, &answer).await;
                    }
                    false => edge.shared.abort(edge.stream),
                }
                return None;
            }
            Some(Ok(Over::BadAnswer(flaw))) => {
                tracing::debug!(name = %conversation.name(), %flaw, "the backend's answer is malformed");
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
                let answer = http_answer(Cause::BadAnswer, is_head, After::Close);
                close_after(stream, &answer).await;
                return None;
            }
            Some(Err(RelayError::Public(_))) if is_idle => {
                // Whoever leaves between two requests has failed in nothing.
                shared.abort(backend.stream);
                request.succeeded();
                return None;
            }
            Some(Err(RelayError::Backend(error))) if can_answer => {
                tracing::debug!(%error, "the backend ended without an answer");
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
                let answer = http_answer(Cause::NoAnswer, is_head, After::Close);
                close_after(stream, &answer).await;
                return None;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "request failed");
                // Neither end may take the cut for a clean end.
                shared.abort(stream);
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
                return None;
            }
            None => {
                shared.abort(stream);
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
                return None;
            }
        };
        if !conversation.persists() {
            // One end has said that it was the last request; what follows is not served.
            close_after(stream, b"").await;
            return None;
        }
        Some(Edge { shared, stream, source, dest, trusted, front, read, ticket, busy })
    }
}

/// Tells the backend that no more requests follow, and keeps the DATA connection if both
/// ends agree that this was the last.
async fn end_stretch<N: Net>(
    shared: Arc<Shared<N>>,
    mut backend: Side<Transport<N::Stream>>,
    assigned: Assigned<N>,
    outgoing: Option<Registered>,
) {
    let ending = async {
        backend.shutdown().await?;
        backend.read(&mut [0; 1]).await
    };
    match timeout(STRETCH_END, ending).await {
        Ok(Ok(0)) => assigned.keep(backend),
        _ => shared.abort(backend.stream),
    }
    drop(outgoing);
}
