//! A connection from its first bytes to what it turned out to be.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::carry::carry;
use super::edge::{Edge, Ended};
use super::http2::First;
use super::refusal::{Cause, Refused, Speaks};
use crate::classify::proxy_protocol::{self, Ends, Progress};
use crate::classify::{Classifier, Refusal, Verdict};
use crate::forward::{Asked, Forwarded, forward};
use crate::http::{Exchange, GOAWAY_NO_ERROR, PREFACE, goaway, greeting};
use crate::limits::{H2_GREETING, HEAD_DEADLINE};
use crate::listening::PeerConnection;
use crate::mesh::admission::{Displaced, Ticket};
use crate::names::Name;
use crate::observe::metrics::{Protocol, Rejection};
use crate::offer;
use crate::shared::Shared;
use crate::stream::control::read_more;
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;
use crate::tasks::{Busy, Phase};
use crate::trust::front::{Certified, Met, meet};
use crate::workers::Place;

/// What arrives on a listening address.
#[derive(Debug, Clone)]
pub enum Port {
    /// Public traffic and peers, told apart by their first bytes.
    Mixed,
    /// Raw TCP for one name, with no look at the bytes.
    Tcp(Name),
}

/// A connection whose purpose is not known yet.
///
/// What it goes through is boxed, apart from the relay: a task is as large as the
/// largest thing that it awaits, and most of its life it relays.
pub(super) struct Connection<N: Net> {
    pub(super) shared: Arc<Shared<N>>,
    pub(super) stream: Transport<N::Stream>,
    /// The public client: the other end, or whom a trusted proxy speaks for.
    pub(super) source: SocketAddr,
    /// The address that this client connected to, where it is known.
    pub(super) dest: Option<SocketAddr>,
    /// Everything read so far that is not consumed.
    pub(super) head: BytesMut,
    /// When the first bytes must have shown where the connection wants to go.
    pub(super) deadline: Instant,
    pub(super) ticket: Ticket,
    /// Where it was accepted.
    pub(super) accepted: Place,
    /// Its TLS ended here.
    pub(super) front: Option<Ended>,
    /// A client of HTTP/2 that waited for SETTINGS was sent some.
    pub(super) was_greeted: bool,
}

/// A request that is connected to its backend.
struct Connected<N: Net> {
    client: Side<Transport<N::Stream>>,
    forwarded: Forwarded<N>,
    speaks: Speaks,
    /// The CONNECT, if it is one.
    exchange: Option<Box<Exchange>>,
    /// Kept until the request ends.
    ticket: Ticket,
    busy: Busy,
}

impl<N: Net> Connected<N> {
    /// Lets go of the box now, not when the request ends.
    #[expect(clippy::boxed_local, reason = "the box is what is let go of")]
    fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

/// A connection whose way is known.
enum Prepared<N: Net> {
    Edge(Edge<N>),
    Http2(Edge<N>, First),
    Connected(Box<Connected<N>>),
}

/// Why reading the first bytes ended without an answer to what they are.
enum Unclear {
    /// The deadline has come.
    Late,
    /// The other end has closed or failed.
    Gone,
    /// It had to make room for others.
    Displaced,
}

impl<N: Net> Connection<N> {
    pub(super) async fn serve(self, port: Port, trusted: bool) {
        let shared = self.shared.clone();
        let prepared = Box::pin(async {
            match self.meet(port, trusted).await? {
                (connection, name, speaks @ Speaks::Http { .. }) => {
                    connection.into_edge(&name, speaks, trusted).await.map(Prepared::Edge)
                }
                (connection, name, speaks @ Speaks::Http2 { stream }) => {
                    let was_greeted = connection.was_greeted;
                    let edge = connection.into_edge(&name, speaks, trusted).await?;
                    Some(Prepared::Http2(edge, First { name, stream, was_greeted }))
                }
                (connection, name, speaks) => {
                    connection.connect(name, speaks).await.map(Box::new).map(Prepared::Connected)
                }
            }
        });
        match prepared.await {
            None => {}
            // Boxed, so that tunnels do not hold the room for it.
            Some(Prepared::Edge(edge)) => Box::pin(edge.serve()).await,
            Some(Prepared::Http2(edge, first)) => Box::pin(edge.serve_http2(first)).await,
            Some(Prepared::Connected(connected)) => {
                let Connected { client, forwarded, speaks, exchange, ticket: _ticket, busy: _busy } =
                    connected.unboxed();
                carry(&shared, client, forwarded, speaks, exchange).await;
            }
        }
    }

    /// A client that speaks HTTP, or none if there is no room for it.
    async fn into_edge(self, name: &Name, speaks: Speaks, trusted: bool) -> Option<Edge<N>> {
        let Self { shared, stream, source, dest, head, ticket, front, .. } = self;
        let busy = shared.tasks.busy();
        match ticket.into_public() {
            Ok(ticket) => {
                let read = head;
                Some(Edge { shared, stream, source, dest, trusted, front, read, ticket, busy })
            }
            Err(_) => {
                shared.metrics.rejected(Rejection::ConnectionLimit);
                Refused::now(&shared, source, Some(name), speaks).close(stream, Cause::Full).await;
                None
            }
        }
    }

    /// Finds out what this is. A request comes back with its name and its way; a peer is
    /// served here, and what cannot be routed is refused.
    async fn meet(mut self, port: Port, trusted: bool) -> Option<(Self, Name, Speaks)> {
        // It may have been accepted elsewhere.
        self.shared.net.settle(self.stream.inner_mut(), self.accepted).await;
        if trusted {
            if !self.read_proxy_header().await {
                return None;
            }
            match self.ticket.on_behalf_of(self.source.ip()) {
                Ok(ticket) => self.ticket = ticket,
                Err(_) => {
                    self.shared.metrics.rejected(Rejection::ConnectionLimit);
                    return None;
                }
            }
        }
        match port {
            Port::Tcp(name) => Some((self, name, Speaks::Tcp)),
            Port::Mixed => self.classify(trusted).await,
        }
    }

    /// Reads the header that a trusted proxy must send; false when the
    /// connection is not to be served.
    async fn read_proxy_header(&mut self) -> bool {
        loop {
            match proxy_protocol::parse(&self.head) {
                Progress::Header { ends, consumed } => {
                    self.head.advance(consumed);
                    if let Some(Ends { source, dest }) = ends {
                        (self.source, self.dest) = (source, Some(dest));
                    }
                    return true;
                }
                Progress::Invalid => {
                    self.reject(Rejection::ProxyProtocol);
                    return false;
                }
                Progress::More => match self.read().await {
                    Ok(()) => {}
                    Err(unclear) => {
                        self.unclear(&unclear);
                        return false;
                    }
                },
            }
        }
    }

    async fn classify(mut self, trusted: bool) -> Option<(Self, Name, Speaks)> {
        let mut classifier = Classifier::default();
        let verdict = loop {
            let no_header = match trusted {
                true => Some(false),
                false => proxy_protocol::looks_like_header(&self.head),
            };
            match no_header {
                // Whoever is not trusted may not say who the client is.
                Some(true) => {
                    self.reject(Rejection::ProxyProtocol);
                    return None;
                }
                Some(false) => {
                    if let Some(verdict) = classifier.advance(&self.head) {
                        break verdict;
                    }
                }
                None => {}
            }
            let reading = match classifier.may_await_settings() && !self.was_greeted {
                true => self.read_or_greet().await,
                false => self.read().await,
            };
            if let Err(unclear) = reading {
                self.unclear(&unclear);
                if matches!(unclear, Unclear::Late) && self.head.first().is_some_and(u8::is_ascii) {
                    Box::pin(self.time_out()).await;
                }
                return None;
            }
        };
        match verdict {
            Verdict::Http { name, is_head } => return Some((self, name, Speaks::Http { is_head })),
            Verdict::Http2 { name, stream } => return Some((self, name, Speaks::Http2 { stream })),
            Verdict::Connect { name, consumed } => {
                self.head.advance(consumed);
                return Some((self, name, Speaks::Connect));
            }
            // Only what a client would say in clear text stands within its TLS.
            Verdict::Tls { .. } | Verdict::Peer | Verdict::PeerTls if self.front.is_some() => {
                self.reject(Rejection::UnknownProtocol);
            }
            Verdict::Tls { name } => {
                let certified = self.shared.front.as_ref().and_then(|one| one.certificate(&name));
                let Some(certified) = certified else { return Some((self, name, Speaks::Tls)) };
                let client = Box::pin(self.end_tls(&name, certified)).await?;
                return Box::pin(client.classify(trusted)).await;
            }
            Verdict::Peer => Box::pin(self.into_peer().serve_plaintext()).await,
            Verdict::PeerTls => Box::pin(self.into_peer().serve_tls()).await,
            Verdict::Refused(refusal) => Box::pin(self.refuse_head(refusal)).await,
        }
        None
    }

    /// Ends the TLS of a client that asks for `name`; what it says within is still to be
    /// read. `None` if the handshake failed.
    async fn end_tls(mut self, name: &Name, certified: Arc<Certified>) -> Option<Self> {
        let offers_h2 = self.shared.mesh.offers_h2(name);
        let head = std::mem::take(&mut self.head).freeze();
        let meeting = meet::<N>(&certified, offers_h2, self.stream.into_inner(), head);
        let meeting = self.ticket.unless_displaced(timeout_at(self.deadline, meeting));
        let (reason, error) = match meeting.await {
            Ok(Ok(Ok(Met { stream, version }))) => {
                self.deadline = Instant::now() + HEAD_DEADLINE;
                let front = Some(Ended { certified, version });
                return Some(Self { stream, front, ..self });
            }
            Ok(Ok(Err(error))) => (Rejection::PublicTls, error.to_string()),
            Ok(Err(late)) => (Rejection::PublicTls, late.to_string()),
            Err(Displaced) => (Rejection::HeadLimit, "it made room for others".to_owned()),
        };
        self.shared.metrics.rejected(reason);
        tracing::debug!(source = %self.source, %name, error, "a client's TLS handshake failed");
        None
    }

    /// A peer. A link is no request, and draining waits for none.
    fn into_peer(self) -> PeerConnection<N> {
        let Self { shared, stream, source, head, deadline, ticket, .. } = self;
        let stream = stream.into_inner();
        PeerConnection { shared, stream, head: head.freeze(), source, deadline, ticket }
    }

    /// Connects a request to its backend, or tells its client why it cannot be.
    async fn connect(self, name: Name, speaks: Speaks) -> Option<Connected<N>> {
        let Self { shared, mut stream, source, dest, head, ticket, front, .. } = self;
        // From here on it is a request, or a refusal that is to be read: a connection
        // that says nothing holds up nobody's end.
        let busy = shared.tasks.busy();
        let exchange = Exchange::begin(1, None, Instant::now());
        let refused = |exchange| Refused {
            shared: &*shared,
            client: source,
            name: Some(&name),
            speaks,
            exchange,
        };
        let Ok(ticket) = ticket.into_public() else {
            shared.metrics.rejected(Rejection::ConnectionLimit);
            refused(exchange).close(stream, Cause::Full).await;
            return None;
        };
        let (protocol, by) = match speaks {
            Speaks::Http { .. } | Speaks::Http2 { .. } => (Protocol::Http, offer::Way::Http),
            Speaks::Connect => (Protocol::Http, offer::Way::Connect),
            Speaks::Tls => (Protocol::Https, offer::Way::Https),
            Speaks::Tcp => (Protocol::Tcp, offer::Way::Tcp),
        };
        let tls = front.map(|front| front.version);
        let protocol = if tls.is_some() { Protocol::Https } else { protocol };
        if shared.tasks.phase() >= Phase::Finishing {
            shared.metrics.rejected(Rejection::Draining);
            refused(exchange).close(stream, Cause::Draining).await;
            return None;
        }
        let forwarded = {
            let head = |_, _| Cow::Borrowed(&head[..]);
            let asked = Asked {
                id: None,
                deadline: None,
                name: &name,
                way: by,
                protocol,
                source,
                dest,
                tls,
                trace: None,
                head: &head,
            };
            let reset = pin!(shared.net.reset(stream.inner_mut()));
            forward(&shared, asked, reset).await.map(|forwarded| forwarded.log(&asked, false))
        };
        match forwarded {
            Ok(forwarded) => {
                let ahead = if forwarded.head_sent { Bytes::new() } else { head.freeze() };
                let client = Side::raw(stream, ahead);
                let exchange = matches!(speaks, Speaks::Connect).then(|| Box::new(exchange));
                Some(Connected { client, forwarded, speaks, exchange, ticket, busy })
            }
            Err(why) => {
                refused(exchange).close(stream, Cause::NotForwarded(why)).await;
                None
            }
        }
    }

    async fn refuse_head(self, refusal: Refusal) {
        let _busy = self.shared.tasks.busy();
        let http = Speaks::Http { is_head: false };
        let (rejection, cause, speaks) = match refusal {
            Refusal::BadHead => (Rejection::BadHead, Cause::BadHead, http),
            Refusal::BadFraming => (Rejection::BadFraming, Cause::BadFraming, http),
            Refusal::HeadTooLarge => (Rejection::HeadTooLarge, Cause::HeadTooLarge, http),
            Refusal::Http2(flaw) => {
                self.reject(Rejection::BadH2);
                return close_after(self.stream, &goaway(flaw.code())).await;
            }
            Refusal::BadClientHello => {
                (Rejection::BadClientHello, Cause::BadClientHello, Speaks::Tls)
            }
            Refusal::NoSni => (Rejection::NoSni, Cause::NoSni, Speaks::Tls),
            Refusal::BadSni => (Rejection::BadSni, Cause::BadSni, Speaks::Tls),
            Refusal::UnknownProtocol => return self.reject(Rejection::UnknownProtocol),
        };
        self.reject(rejection);
        Refused::now(&self.shared, self.source, None, speaks).close(self.stream, cause).await;
    }

    /// Tells an HTTP client that its head came too late.
    async fn time_out(self) {
        const HANDSHAKE: u8 = 0x16;
        if self.head.starts_with(PREFACE) {
            close_after(self.stream, &goaway(GOAWAY_NO_ERROR)).await;
        } else if self.head.first() != Some(&HANDSHAKE) {
            let speaks = Speaks::Http { is_head: false };
            Refused::now(&self.shared, self.source, None, speaks)
                .close(self.stream, Cause::HeadTimeout)
                .await;
        }
    }

    async fn read(&mut self) -> Result<(), Unclear> {
        self.read_until(self.deadline).await
    }

    /// Reads, and sends SETTINGS to a client that says nothing more without them.
    async fn read_or_greet(&mut self) -> Result<(), Unclear> {
        let patience = Instant::now() + H2_GREETING;
        match self.read_until(patience.min(self.deadline)).await {
            Err(Unclear::Late) if patience < self.deadline => {}
            other => return other,
        }
        self.was_greeted = true;
        let greeting = greeting();
        let greeted = async {
            self.stream.write_all(&greeting).await?;
            self.stream.flush().await
        };
        match timeout_at(self.deadline, greeted).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unclear::Gone),
            Err(_) => Err(Unclear::Late),
        }
    }

    async fn read_until(&mut self, deadline: Instant) -> Result<(), Unclear> {
        let reading = timeout_at(deadline, read_more(&mut self.stream, &mut self.head));
        match self.ticket.unless_displaced(reading).await {
            Ok(Ok(Ok(0) | Err(_))) => Err(Unclear::Gone),
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Err(_)) => Err(Unclear::Late),
            Err(Displaced) => Err(Unclear::Displaced),
        }
    }

    fn unclear(&self, unclear: &Unclear) {
        match unclear {
            Unclear::Late => self.reject(Rejection::HeadTimeout),
            Unclear::Displaced => self.reject(Rejection::HeadLimit),
            // A connection that never said anything is a probe, not a fault.
            Unclear::Gone if self.head.is_empty() => {}
            Unclear::Gone => self.reject(Rejection::HeadIncomplete),
        }
    }

    fn reject(&self, reason: Rejection) {
        self.shared.metrics.rejected(reason);
        tracing::debug!(source = %self.source, %reason, "refused a connection");
    }
}
