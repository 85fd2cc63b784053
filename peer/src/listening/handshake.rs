//! A peer connection from its first bytes to its first line, which says whether
//! it is a link or a DATA connection. All of it under the one deadline that the
//! connection got when it was accepted.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls;

use crate::listening::link::{Admitted, refuse_peer, serve_link};
use crate::mesh::admission::Ticket;
use crate::mesh::tables::Idle;
use crate::names::PeerId;
use crate::observe::metrics::Rejection;
use crate::shared::Shared;
use crate::stream::alert::{Alert, fatal_alert};
use crate::stream::control::{Control, ControlError, first_line};
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;
use crate::trust::tls::{self, Loaded, Session, Shown};
use crate::trust::{Identity, Proven, TokenRules, authenticate, identify_data, identify_idle};
use crate::wire::{ErrorCode, Line, LineBuffer, WireError};

/// A peer connection of which nothing but its first bytes is known.
pub struct PeerConnection<N: Net> {
    /// The peer that it came to.
    pub shared: Arc<Shared<N>>,
    /// The connection.
    pub stream: N::Stream,
    /// What was read of it.
    pub head: Bytes,
    /// Where it comes from.
    pub source: SocketAddr,
    /// When its first line must be whole.
    pub deadline: Instant,
    /// Its place among the connections of this peer.
    pub ticket: Ticket,
}

impl<N: Net> PeerConnection<N> {
    /// Serves a peer that came in clear text.
    pub async fn serve_plaintext(self) {
        let Self { shared, stream, head, source, deadline, ticket } = self;
        let stream = Transport::Plain(stream);
        if !shared.lets_in_plaintext(source.ip()) {
            shared.metrics.rejected(Rejection::PlaintextPeer);
            tracing::warn!(%source, "refused a plaintext peer; set up TLS on it, or see --insecure-plaintext");
            let control = Control::new(stream, LineBuffer::default());
            return control.refuse(ErrorCode::Unauthorized, "plaintext peers are refused").await;
        }
        let proven = Proven::Plaintext(source.ip());
        let rules = TokenRules::default();
        let lines = LineBuffer::starting_with(&head);
        let chain = Vec::new();
        let encounter =
            Encounter { shared, stream, lines, proven, chain, source, deadline, ticket };
        encounter.serve(&rules, None).await;
    }

    /// Serves a peer that came with TLS.
    pub async fn serve_tls(self) {
        let Self { shared, stream, head, source, deadline, ticket } = self;
        let loaded = shared.tls.as_ref().map(|tls| tls.current());
        let Some(loaded) = loaded.filter(|loaded| loaded.server.is_some()) else {
            shared.metrics.rejected(Rejection::TlsPeer);
            return close_after(stream, &fatal_alert(Alert::NoApplicationProtocol)).await;
        };
        let accepting = tls::accept::<N>(&loaded, stream, head);
        let Session { stream, proven, chain, .. } = match timeout_at(deadline, accepting).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                shared.metrics.rejected(Rejection::TlsHandshake);
                return tracing::warn!(%source, %error, "TLS handshake with a peer failed");
            }
            Err(_) => {
                shared.metrics.rejected(Rejection::HandshakeTimeout);
                return tracing::warn!(%source, "TLS handshake with a peer timed out");
            }
        };
        let lines = LineBuffer::default();
        let encounter =
            Encounter { shared, stream, lines, proven, chain, source, deadline, ticket };
        encounter.serve(&loaded.rules, Some(loaded.clone())).await;
    }
}

/// A connection that is ready for its first line.
struct Encounter<N: Net> {
    shared: Arc<Shared<N>>,
    stream: Transport<N::Stream>,
    lines: LineBuffer,
    proven: Proven,
    chain: Vec<CertificateDer<'static>>,
    source: SocketAddr,
    deadline: Instant,
    ticket: Ticket,
}

impl<N: Net> Encounter<N> {
    /// `judged_by`: what the TLS handshake went by, if there was one.
    async fn serve(mut self, rules: &TokenRules, judged_by: Option<Arc<Loaded>>) {
        let reading = first_line(&mut self.stream, &mut self.lines);
        let line = match timeout_at(self.deadline, reading).await {
            Ok(Ok(line)) => Line::parse(&line),
            Ok(Err(ControlError::Wire(error))) => Err(error),
            Ok(Err(ControlError::Io(error))) => {
                self.shared.metrics.rejected(Rejection::HeadIncomplete);
                let source = self.source;
                return tracing::debug!(%source, %error, "peer connection ended before its first line was complete");
            }
            Err(_) => {
                self.shared.metrics.rejected(Rejection::HandshakeTimeout);
                let source = self.source;
                return tracing::warn!(%source, "peer connection timed out before its first line was complete");
            }
        };
        match line {
            Ok(Line::Hello { peer, proof }) => {
                match authenticate(&self.proven, rules, &peer, proof.as_ref()) {
                    Ok((identity, permission)) => {
                        let Self { shared, stream, lines, chain, source, ticket, .. } = self;
                        let by_token = proof.is_some();
                        let shown = judged_by.map(|judged_by| Shown { chain, by_token, judged_by });
                        let admitted = Admitted { peer, identity, permission, shown };
                        let Ok(_ticket) = ticket.into_link() else {
                            shared.metrics.rejected(Rejection::ConnectionLimit);
                            return tracing::warn!(%source, peer = %admitted.peer, "refused a link: this peer is at its link limit");
                        };
                        serve_link(shared, stream, lines, admitted, source).await;
                    }
                    Err(error) => self.refuse(&error).await,
                }
            }
            Ok(Line::Data { id, token }) => {
                // Whoever cannot say who he is has no right to any id.
                let identity = identify_data(&self.proven, rules, id, token.as_ref()).ok();
                let Self { shared, stream, lines, source, ticket, .. } = self;
                ticket.into_data();
                let data = Side::raw(stream, lines.into_rest());
                if !shared.mesh.claim(id, identity.as_ref(), data) {
                    tracing::info!(%source, %id, "closed an unexpected DATA connection");
                }
            }
            Ok(Line::DataIdle { peer, proof }) => {
                let identity = identify_idle(&self.proven, rules, &peer, proof.as_ref()).ok();
                self.introduce(peer, identity);
            }
            Ok(_) => {
                let error = WireError {
                    code: ErrorCode::UnexpectedCommand,
                    text: "the first line must be HELLO or DATA",
                };
                self.refuse(&error).await;
            }
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Keeps a DATA connection for requests to come. It waits without a task: who
    /// takes it finds out whether it has ended.
    fn introduce(self, peer: PeerId, identity: Option<Identity>) {
        let Self { shared, stream, lines, source, ticket, .. } = self;
        ticket.into_data();
        let is_quiet = lines.into_rest().is_empty();
        let idle = Idle { stream, since: Instant::now() };
        let kept = identity
            .filter(|_| is_quiet)
            .is_some_and(|identity| shared.mesh.introduce(peer.clone(), &identity, idle).is_ok());
        if !kept {
            shared.metrics.rejected(Rejection::IdleData);
            tracing::info!(%source, %peer, "refused an idle DATA connection");
        }
    }

    async fn refuse(self, error: &WireError) {
        let control = Control::new(self.stream, self.lines);
        refuse_peer(&self.shared, control, error, self.source).await;
    }
}
