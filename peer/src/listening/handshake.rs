//! A peer connection from its first bytes to its first line, which says whether
//! it is a link or a DATA connection. All of it under the one deadline that the
//! connection got when it was accepted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls;

use super::link::{Admitted, refuse_peer, serve_link};
use super::open::Opening;
use crate::handover::{self, Predecessor};
use crate::limits::{CONNECT_TIMEOUT, WRITE_TIMEOUT};
use crate::mesh::admission::{Displaced, Ticket};
use crate::mesh::tables::NotKept;
use crate::names::{PeerId, ProxyId};
use crate::observe::metrics::{Incident, Rejection};
use crate::shared::Shared;
use crate::stream::alert::{Alert, fatal_alert};
use crate::stream::control::{Control, ControlError, first_line, write_line};
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::relay::{Side, Uncounted};
use crate::stream::transport::{Transport, relay};
use crate::trust::tls::{self, Loaded, Session, Verdict};
use crate::trust::{
    Principal, Proven, TokenRules, UNAUTHORIZED, authenticate, identify_data, identify_idle,
    identify_open,
};
use crate::wire::{
    ErrorCode, FailReason, Line, LineBuffer, ReportedError, Requested, TokenProof, WireError,
};
use crate::workers::Place;

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
            if shared.rejected(source.ip(), Rejection::PlaintextPeer) {
                tracing::warn!(%source, "refused a plaintext peer; set up TLS on it, or see --insecure-plaintext");
            }
            let control = Control::new(stream, LineBuffer::default());
            return control.refuse(ErrorCode::Unauthorized, "plaintext peers are refused").await;
        }
        let proven = Proven::Plaintext(source.ip());
        let lines = LineBuffer::starting_with(&head);
        let shown = Shown { proven, chain: Vec::new(), judged_by: None };
        Encounter { shared, stream, lines, shown, source, deadline, ticket }.serve().await;
    }

    /// Serves a peer that came to the successor of this process, and has shown this there.
    pub(super) async fn serve_passed_back(
        shared: Arc<Shared<N>>,
        stream: N::Stream,
        shown: handover::Shown,
        deadline: Instant,
        ticket: Ticket,
    ) {
        let source = shown.source;
        let (proven, chain) = shown.into_proof();
        let judged_by = match &proven {
            Proven::Plaintext(_) => None,
            Proven::Tls { .. } => shared.tls.as_ref().map(|tls| tls.current()),
        };
        let shown = Shown { proven, chain, judged_by };
        let (stream, lines) = (Transport::Plain(stream), LineBuffer::default());
        Encounter { shared, stream, lines, shown, source, deadline, ticket }.serve().await;
    }

    /// Serves a peer that came with TLS.
    pub async fn serve_tls(self) {
        let Self { shared, stream, head, source, deadline, ticket } = self;
        let loaded = shared.tls.as_ref().map(|tls| tls.current());
        let Some(loaded) = loaded.filter(|loaded| loaded.server.is_some()) else {
            shared.metrics.rejected(Rejection::TlsPeer);
            return close_after(stream, &fatal_alert(Alert::NoApplicationProtocol)).await;
        };
        let Ok(ticket) = ticket.into_handshake() else {
            return shared.metrics.rejected(Rejection::HeadLimit);
        };
        let accepting = timeout_at(deadline, tls::accept::<N>(&loaded, stream, head));
        let accepted = ticket.unless_displaced(accepting).await;
        let Session { stream, proven, chain, .. } = match accepted {
            Ok(Ok(Ok(session))) => session,
            Err(Displaced) => return shared.metrics.rejected(Rejection::HeadLimit),
            Ok(Ok(Err(error))) => {
                if shared.rejected(source.ip(), Rejection::TlsHandshake) {
                    tracing::warn!(%source, %error, "TLS handshake with a peer failed");
                }
                return;
            }
            Ok(Err(_)) => {
                if shared.rejected(source.ip(), Rejection::HandshakeTimeout) {
                    tracing::warn!(%source, "TLS handshake with a peer timed out");
                }
                return;
            }
        };
        let lines = LineBuffer::default();
        let shown = Shown { proven, chain, judged_by: Some(loaded) };
        Encounter { shared, stream, lines, shown, source, deadline, ticket }.serve().await;
    }
}

/// A connection that is ready for its first line.
struct Encounter<N: Net> {
    shared: Arc<Shared<N>>,
    stream: Transport<N::Stream>,
    lines: LineBuffer,
    shown: Shown,
    source: SocketAddr,
    deadline: Instant,
    ticket: Ticket,
}

/// What the other end has shown before its first line.
struct Shown {
    proven: Proven,
    chain: Vec<CertificateDer<'static>>,
    /// What the TLS handshake went by, if there was one.
    judged_by: Option<Arc<Loaded>>,
}

impl Shown {
    /// Has `identify` say who this is, by the files of this moment: they may have changed
    /// since the handshake.
    fn identify<N: Net>(
        &self,
        shared: &Shared<N>,
        identify: impl FnOnce(&Proven, &TokenRules) -> Result<Principal, WireError>,
    ) -> Result<Principal, WireError> {
        let Some(judged_by) = &self.judged_by else {
            return identify(&self.proven, &TokenRules::default());
        };
        let loaded = shared.tls.as_ref().map_or_else(|| judged_by.clone(), |tls| tls.current());
        if !Arc::ptr_eq(&loaded, judged_by) && !self.chain.is_empty() {
            let now = UnixTime::since_unix_epoch(shared.net.unix_time());
            if loaded.judge_client(&self.chain, now) != Verdict::Good {
                return Err(UNAUTHORIZED);
            }
        }
        identify(&self.proven, &loaded.rules)
    }
}

impl<N: Net> Encounter<N> {
    async fn serve(mut self) {
        let Some(line) = self.first_line().await else { return };
        match line {
            Ok(Line::Hello { peer, proof }) => {
                let principal = self.shown.identify(&self.shared, |proven, rules| {
                    authenticate(proven, rules, &peer, proof.as_ref())
                });
                match principal {
                    Ok(principal) => self.serve_link(peer, principal).await,
                    Err(error) => self.refuse(&error).await,
                }
            }
            Ok(Line::Data { id, token, to }) => {
                if self.is_for_us(to).await {
                    match self.predecessor_of(id).await {
                        Some((before, back)) => {
                            Box::pin(self.pass_back(before, back, id, token)).await
                        }
                        None => self.claim(id, token.as_ref()),
                    }
                }
            }
            Ok(Line::DataIdle { peer, proof, to }) => {
                if self.is_for_us(to).await {
                    self.introduce(peer, proof.as_ref());
                }
            }
            Ok(Line::Open { id, requested, token }) => {
                let principal = self.shown.identify(&self.shared, |proven, rules| {
                    identify_open(proven, rules, id, token.as_ref())
                });
                match principal {
                    Ok(principal) => self.open(id, *requested, principal).await,
                    Err(error) => self.refuse(&error).await,
                }
            }
            Ok(Line::Error(code, text)) => {
                // Nothing is answered to an ERROR, or two peers could go on for ever.
                if self.shared.rejected(self.source.ip(), Rejection::UnexpectedCommand) {
                    let (source, error) = (self.source, ReportedError { code, text });
                    tracing::warn!(%source, %error, "a peer began with an error");
                }
            }
            Ok(_) => {
                let text = "a connection begins with HELLO, DATA or OPEN";
                self.refuse(&WireError::new(ErrorCode::UnexpectedCommand, text)).await;
            }
            Err(error) => self.refuse(&error).await,
        }
    }

    /// The process that has asked for this id, if it was not this one but the one in whose
    /// place it is, and a connection to it.
    async fn predecessor_of(&self, id: ProxyId) -> Option<(Predecessor, N::Stream)> {
        let before = self.shared.predecessor.get()?;
        if self.shared.mesh.is_waiting(id) {
            return None;
        }
        let dialled = timeout(CONNECT_TIMEOUT, self.shared.net.connect(before.addr)).await;
        // It may have ended by now: then nobody has asked.
        Some((before.clone(), dialled.ok()?.ok()?))
    }

    /// Passes a DATA connection on to the process in whose place this one is, with what it
    /// has shown here, and carries it until it ends.
    async fn pass_back(
        self,
        before: Predecessor,
        mut back: N::Stream,
        id: ProxyId,
        token: Option<(PeerId, TokenProof)>,
    ) {
        let Self { shared, stream, lines, shown, source, ticket, .. } = self;
        drop(ticket);
        let _busy = shared.tasks.busy();
        let shown = handover::Shown::new(&before, source, &shown.proven, &shown.chain);
        let mut data = Side::raw(stream, lines.into_rest());
        let line = Line::Data { id, token, to: None };
        let carrying = async {
            let head = [&shown.to_bytes()[..], format!("{line}\n").as_bytes()].concat();
            back.write_all(&head).await?;
            let mut back = Side::raw(Transport::Plain(back), Bytes::new());
            let carried = relay(&shared.net, &mut data, &mut back, &Uncounted).await;
            if carried.is_err() {
                shared.abort(back.stream);
            }
            carried.map_err(io::Error::other)
        };
        let carried = shared.tasks.until_closing(carrying).await;
        if !matches!(carried, Some(Ok(()))) {
            tracing::debug!(%source, %id, "a DATA connection that was passed back broke");
            shared.abort(data.stream);
        }
    }

    /// Whether a DATA connection that names its peer is for this one, or for the one in whose
    /// place it is; that is answered.
    async fn is_for_us(&mut self, to: Option<PeerId>) -> bool {
        let Some(to) = to else { return true };
        let own = &self.shared.peer_id;
        let before = self.shared.predecessor.get().map(|before| &before.peer);
        if to == *own || Some(&to) == before {
            let answer = Line::Welcome(to);
            return write_line(&mut self.stream, &answer).await.is_ok();
        }
        self.shared.metrics.rejected(Rejection::WrongPeer);
        let text = "this is another peer than the one that the connection is for".to_owned();
        // Whoever does not read it dials again after its own deadline.
        let _ = write_line(&mut self.stream, &Line::Error(ErrorCode::WrongPeer, text)).await;
        false
    }

    /// The first line, or what is wrong with it; `None` when none came.
    async fn first_line(&mut self) -> Option<Result<Line, WireError>> {
        let source = self.source;
        let reading = timeout_at(self.deadline, first_line(&mut self.stream, &mut self.lines));
        match self.ticket.unless_displaced(reading).await {
            Ok(Ok(Ok(line))) => Some(Line::parse(&line)),
            Ok(Ok(Err(ControlError::Wire(error)))) => Some(Err(error)),
            Err(Displaced) => {
                self.shared.metrics.rejected(Rejection::HeadLimit);
                None
            }
            Ok(Ok(Err(ControlError::Io(error)))) => {
                self.shared.metrics.rejected(Rejection::HeadIncomplete);
                tracing::debug!(%source, %error, "a peer left within its first line");
                None
            }
            Ok(Err(_)) => {
                if self.shared.rejected(source.ip(), Rejection::HandshakeTimeout) {
                    tracing::warn!(%source, "a peer did not send a complete first line in time");
                }
                None
            }
        }
    }

    async fn serve_link(self, peer: PeerId, principal: Principal) {
        let Self { shared, stream, lines, shown, source, ticket, .. } = self;
        let _ticket = ticket.into_link();
        let admitted = Admitted { peer, principal, chain: shown.chain };
        serve_link(shared, stream, lines, admitted, source).await;
    }

    fn claim(self, id: ProxyId, token: Option<&(PeerId, TokenProof)>) {
        // Whoever cannot say who he is has no right to any id.
        let principal = self
            .shown
            .identify(&self.shared, |proven, rules| identify_data(proven, rules, id, token));
        let Self { shared, stream, lines, source, ticket, .. } = self;
        drop(ticket);
        let data = Side::raw(stream, lines.into_rest());
        if let Err(reason) = shared.mesh.claim(id, principal.ok().as_ref(), data)
            && shared.may_log(source.ip(), Incident::UnexpectedData)
        {
            tracing::info!(%source, %id, %reason, "a DATA connection was closed");
        }
    }

    /// Keeps a DATA connection for requests to come. It waits without a task: who
    /// takes it finds out whether it has ended.
    fn introduce(self, peer: PeerId, proof: Option<&TokenProof>) {
        let principal = self
            .shown
            .identify(&self.shared, |proven, rules| identify_idle(proven, rules, &peer, proof));
        let Self { shared, stream, lines, source, ticket, .. } = self;
        drop(ticket);
        let is_quiet = lines.into_rest().is_empty();
        let kept = match principal {
            Ok(principal) if is_quiet => {
                shared.mesh.introduce(peer.clone(), principal, stream, Place::here())
            }
            Ok(_) => Err(NotKept::Unwanted),
            Err(_) => Err(NotKept::Foreign),
        };
        let Err(reason) = kept else { return };
        let may_log = shared.rejected(source.ip(), Rejection::IdleData);
        if reason == NotKept::Foreign {
            shared.metrics.unexpected_data();
        }
        if may_log {
            tracing::info!(%source, %peer, %reason, "an idle DATA connection was closed");
        }
    }

    /// Boxed, so that no other connection holds the room for it.
    async fn open(self, id: ProxyId, requested: Requested, principal: Principal) {
        let Self { shared, stream, lines, source, ticket, .. } = self;
        let Ok(_ticket) = ticket.into_public() else {
            shared.metrics.rejected(Rejection::ConnectionLimit);
            let mut stream = stream;
            let full = Line::Fail(id, FailReason::Overloaded);
            return drop(timeout(WRITE_TIMEOUT, write_line(&mut stream, &full)).await);
        };
        let ahead = lines.into_rest();
        let opening = Opening { shared, stream, ahead, source, id, requested, principal };
        Box::pin(opening.serve()).await;
    }

    async fn refuse(self, error: &WireError) {
        let control = Control::new(self.stream, self.lines);
        refuse_peer(&self.shared, control, error, self.source).await;
    }
}
