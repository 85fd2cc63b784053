//! OPEN: a connecting peer asks for a request of its own public side to be routed here. The
//! connection that it asks on then carries the request.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use crate::forward::{Forwarded, NotForwarded, forward_on};
use crate::limits::WRITE_TIMEOUT;
use crate::mesh::waiting::ForwardError;
use crate::names::ProxyId;
use crate::observe::metrics::{ProxyError, Rejection};
use crate::shared::Shared;
use crate::stream::control::write_line;
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::{Transport, relay};
use crate::tasks::Phase;
use crate::trust::Principal;
use crate::wire::{FailReason, Line, Requested};

/// A request that a connecting peer asks for.
pub(super) struct Opening<N: Net> {
    /// The peer that it asks.
    pub(super) shared: Arc<Shared<N>>,
    /// The connection, and what was read of it behind the line.
    pub(super) stream: Transport<N::Stream>,
    pub(super) ahead: Bytes,
    /// Where it comes from.
    pub(super) source: SocketAddr,
    /// The request's id.
    pub(super) id: ProxyId,
    /// What is asked for.
    pub(super) requested: Requested,
    /// Who asks.
    pub(super) principal: Principal,
}

impl<N: Net> Opening<N> {
    /// Routes the request and carries it to its end, or says why not.
    pub(super) async fn serve(mut self) {
        let shared = self.shared.clone();
        let _busy = shared.tasks.busy();
        let forwarded = match self.judge() {
            Ok(()) => self.forward().await,
            Err(reason) => Err(reason),
        };
        match forwarded {
            Ok(forwarded) => self.carry(forwarded).await,
            Err(reason) => self.refuse(reason).await,
        }
    }

    /// Whether it may be asked for, and now.
    fn judge(&self) -> Result<(), FailReason> {
        let Self { shared, principal, requested, source, .. } = self;
        let name = &requested.name;
        if !principal.permission.reaches(name) {
            if shared.rejected(source.ip(), Rejection::NotPermitted) {
                let peer = &principal.identity;
                tracing::warn!(%source, %peer, %name, "refused a request of a peer that may not reach this name; its certificate or token rule would have to say so: reach");
            }
            return Err(FailReason::NotPermitted);
        }
        if shared.tasks.phase() >= Phase::Finishing {
            shared.metrics.rejected(Rejection::Draining);
            return Err(FailReason::Overloaded);
        }
        Ok(())
    }

    async fn forward(&mut self) -> Result<Forwarded<N>, FailReason> {
        let Self { shared, id, requested, ahead, .. } = self;
        let gone = pin!(shared.net.reset(self.stream.inner_mut()));
        forward_on(shared, *id, requested, ahead, gone).await.map_err(reason)
    }

    async fn carry(self, forwarded: Forwarded<N>) {
        let Self { shared, mut stream, ahead, id, .. } = self;
        let Forwarded { request, mut backend, assigned, head_sent, outgoing: _outgoing, .. } =
            forwarded;
        let answer = match assigned.is_told_of_clients() {
            true => Line::Data { id, token: None, to: None },
            false => Line::DataUntold(id),
        };
        let carried = async {
            timeout(WRITE_TIMEOUT, write_line(&mut stream, &answer)).await??;
            let ahead = if head_sent { Bytes::new() } else { ahead };
            let mut client = Side::raw(stream, ahead);
            let carried = relay(&shared.net, &mut client, &mut backend, &request).await;
            if carried.is_err() {
                // It may not take the cut for a clean end.
                shared.abort(client.stream);
            }
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(carried?)
        };
        let ended = shared.tasks.until_closing(carried).await;
        match ended.unwrap_or_else(|| Err("this process is shutting down".into())) {
            Ok(()) => {
                assigned.keep(backend);
                request.succeeded();
            }
            Err(error) => {
                tracing::debug!(%id, %error, "a request that another peer asked for failed");
                shared.abort(backend.stream);
                request.failed(ProxyError::DataIoError);
            }
        }
    }

    async fn refuse(mut self, reason: FailReason) {
        // Whoever does not read it gives up at its own deadline.
        let answer = Line::Fail(self.id, reason);
        let _ = timeout(WRITE_TIMEOUT, write_line(&mut self.stream, &answer)).await;
    }
}

/// Why, for the peer that asks.
fn reason(error: NotForwarded) -> FailReason {
    match error {
        NotForwarded::UnknownName | NotForwarded::NotThisWay => FailReason::UnknownName,
        NotForwarded::NoProvider | NotForwarded::Unhealthy { .. } => FailReason::NoProvider,
        NotForwarded::NotAllowed => FailReason::NotAllowed,
        NotForwarded::Failed(ForwardError::Failed(reason)) => reason,
        NotForwarded::Failed(ForwardError::Timeout) => FailReason::BackendTimeout,
        NotForwarded::Full | NotForwarded::Failed(_) => FailReason::Overloaded,
    }
}
