//! Accepts connections and finds out what each one is: a public request, a link,
//! or a DATA connection.
//!
//! The accept loops never wait for a stranger: every connection is a task of its
//! own, with one absolute deadline for its first bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::admission::Ticket;
use crate::classify::proxy_protocol::{self, Progress};
use crate::classify::{Classifier, Refusal, Verdict};
use crate::control::read_more;
use crate::dial::is_out_of_resources;
use crate::forward::{Asked, Forwarded, forward};
use crate::handshake::PeerConnection;
use crate::limits::{ACCEPT_BACKOFF, HEAD_DEADLINE, WRITE_TIMEOUT};
use crate::metrics::{Protocol, ProxyError, Rejection};
use crate::names::Name;
use crate::net::{Listener, Net};
use crate::refusal::{Cause, h2_goaway, http_answer, refuse, tls_alert};
use crate::relay::Side;
use crate::shared::Shared;
use crate::tasks::{Busy, Phase};
use crate::transport::{Transport, relay};

/// What arrives on a listening address.
#[derive(Debug, Clone)]
pub enum Port {
    /// Public traffic and peers, told apart by their first bytes.
    Mixed,
    /// Raw TCP for one name, with no look at the bytes.
    Tcp(Name),
}

/// Accepts until the task is ended.
pub async fn accept_loop<N: Net>(shared: Arc<Shared<N>>, listener: N::Listener, port: Port) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => {
                let trusted = shared.trusts(source.ip());
                let stranger = (!trusted).then(|| source.ip());
                let Ok(ticket) = shared.admission.enter(stranger) else {
                    shared.metrics.rejected(Rejection::ConnectionLimit);
                    tracing::debug!(%source, "at the connection limit; closed");
                    continue;
                };
                let connection = Connection {
                    ticket,
                    stream,
                    source,
                    head: BytesMut::new(),
                    deadline: Instant::now() + HEAD_DEADLINE,
                    busy: shared.tasks.busy(),
                    shared: shared.clone(),
                };
                shared.tasks.spawn(connection.serve(port.clone(), trusted));
            }
            Err(error) => {
                if is_out_of_resources(&error) {
                    shared.metrics.rejected(Rejection::FdLimit);
                    shared.mesh.drop_idle();
                }
                tracing::warn!(%error, "cannot accept; waiting a moment");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// A connection whose purpose is not known yet.
///
/// What it turns into is boxed, apart from the relay: a task is as large as the
/// largest thing that it awaits, and most of its life it relays.
struct Connection<N: Net> {
    shared: Arc<Shared<N>>,
    stream: N::Stream,
    /// The public client: the other end, or whom a trusted proxy speaks for.
    source: SocketAddr,
    /// Everything read so far that is not consumed.
    head: BytesMut,
    /// When the first bytes must have shown where the connection wants to go.
    deadline: Instant,
    busy: Busy,
    ticket: Ticket,
}

/// Why reading the first bytes ended without an answer to what they are.
enum Unclear {
    /// The deadline has come.
    Late,
    /// The other end has closed or failed.
    Gone,
}

/// How to answer the public client of a request.
#[derive(Debug, Clone, Copy)]
enum Public {
    Http { is_head: bool },
    Connect,
    Tls,
    Tcp,
}

impl<N: Net> Connection<N> {
    async fn serve(mut self, port: Port, trusted: bool) {
        if trusted {
            if !self.read_proxy_header().await {
                return;
            }
            match self.ticket.on_behalf_of(self.source.ip()) {
                Ok(ticket) => self.ticket = ticket,
                Err(_) => return self.shared.metrics.rejected(Rejection::ConnectionLimit),
            }
        }
        match port {
            Port::Tcp(name) => self.serve_public(name, Public::Tcp).await,
            Port::Mixed => self.classify(trusted).await,
        }
    }

    /// Reads the header that a trusted proxy must send; false when the
    /// connection is not to be served.
    async fn read_proxy_header(&mut self) -> bool {
        loop {
            match proxy_protocol::parse(&self.head) {
                Progress::Header { source, consumed } => {
                    self.head.advance(consumed);
                    self.source = source.unwrap_or(self.source);
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

    async fn classify(mut self, trusted: bool) {
        let mut classifier = Classifier::default();
        let verdict = loop {
            let no_header = match trusted {
                true => Some(false),
                false => proxy_protocol::looks_like_header(&self.head),
            };
            match no_header {
                // Whoever is not trusted may not say who the client is.
                Some(true) => return self.reject(Rejection::ProxyProtocol),
                Some(false) => {
                    if let Some(verdict) = classifier.advance(&self.head) {
                        break verdict;
                    }
                }
                None => {}
            }
            if let Err(unclear) = self.read().await {
                self.unclear(&unclear);
                if matches!(unclear, Unclear::Late) && self.head.first().is_some_and(u8::is_ascii) {
                    Box::pin(self.time_out()).await;
                }
                return;
            }
        };
        self.route(verdict).await;
    }

    async fn route(mut self, verdict: Verdict) {
        match verdict {
            Verdict::Http { name, is_head } => {
                self.serve_public(name, Public::Http { is_head }).await;
            }
            Verdict::Connect { name, consumed } => {
                self.head.advance(consumed);
                self.serve_public(name, Public::Connect).await;
            }
            Verdict::Tls { name } => self.serve_public(name, Public::Tls).await,
            Verdict::Peer => Box::pin(self.into_peer().serve_plaintext()).await,
            Verdict::PeerTls => Box::pin(self.into_peer().serve_tls()).await,
            Verdict::Refused(refusal) => Box::pin(self.refuse_head(refusal)).await,
        }
    }

    /// A peer. A link is no request: draining does not wait for it.
    fn into_peer(self) -> PeerConnection<N> {
        let Self { shared, stream, source, head, deadline, busy: _, ticket } = self;
        PeerConnection { shared, stream, head: head.freeze(), source, deadline, ticket }
    }

    async fn serve_public(self, name: Name, public: Public) {
        let Self { shared, stream, source, head, busy: _busy, ticket, .. } = self;
        let Ok(_ticket) = ticket.into_public() else {
            shared.metrics.rejected(Rejection::ConnectionLimit);
            return Box::pin(refuse_public(&shared, stream, Cause::Full, public)).await;
        };
        let protocol = match public {
            Public::Http { .. } | Public::Connect => Protocol::Http,
            Public::Tls => Protocol::Https,
            Public::Tcp => Protocol::Tcp,
        };
        if shared.tasks.phase() >= Phase::Finishing {
            shared.metrics.rejected(Rejection::Draining);
            return Box::pin(refuse_public(&shared, stream, Cause::Draining, public)).await;
        }
        let asked = Asked { name: &name, protocol, source, head: &head };
        match Box::pin(forward(&shared, asked)).await {
            Ok(forwarded) => {
                let ahead = if forwarded.head_sent { Bytes::new() } else { head.freeze() };
                let client = Side::raw(Transport::Plain(stream), ahead);
                carry(&shared, client, forwarded, public).await;
            }
            Err(why) => {
                Box::pin(refuse_public(&shared, stream, Cause::NotForwarded(why), public)).await;
            }
        }
    }

    async fn refuse_head(self, refusal: Refusal) {
        let http = |cause| http_answer(cause, false);
        let (rejection, answer) = match refusal {
            Refusal::BadHead => (Rejection::BadHead, http(Cause::BadHead)),
            Refusal::HeadTooLarge => (Rejection::HeadTooLarge, http(Cause::HeadTooLarge)),
            Refusal::H2c => (Rejection::H2cUnsupported, h2_goaway()),
            Refusal::BadClientHello => {
                (Rejection::BadClientHello, tls_alert(Cause::BadClientHello))
            }
            Refusal::NoSni => (Rejection::NoSni, tls_alert(Cause::NoSni)),
            Refusal::BadSni => (Rejection::BadSni, tls_alert(Cause::BadSni)),
            Refusal::UnknownProtocol => return self.reject(Rejection::UnknownProtocol),
        };
        self.reject(rejection);
        refuse(self.stream, &answer).await;
    }

    /// Tells an HTTP client that its head came too late.
    async fn time_out(self) {
        const HANDSHAKE: u8 = 0x16;
        if self.head.first() != Some(&HANDSHAKE) {
            refuse(self.stream, &http_answer(Cause::HeadTimeout, false)).await;
        }
    }

    async fn read(&mut self) -> Result<(), Unclear> {
        match timeout_at(self.deadline, read_more(&mut self.stream, &mut self.head)).await {
            Ok(Ok(0) | Err(_)) => Err(Unclear::Gone),
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(Unclear::Late),
        }
    }

    fn unclear(&self, unclear: &Unclear) {
        match unclear {
            Unclear::Late => self.reject(Rejection::HeadTimeout),
            // A connection that never said anything is a probe, not a fault.
            Unclear::Gone if self.head.is_empty() => {}
            Unclear::Gone => self.reject(Rejection::HeadIncomplete),
        }
    }

    fn reject(&self, reason: Rejection) {
        self.shared.metrics.rejected(reason);
        tracing::debug!(source = %self.source, %reason, "a connection was refused");
    }
}

/// Carries a connected request to its end.
async fn carry<N: Net>(
    shared: &Shared<N>,
    mut client: Side<Transport<N::Stream>>,
    forwarded: Forwarded<N>,
    public: Public,
) {
    let Forwarded { request, mut backend, assigned, .. } = forwarded;
    let carried = async {
        if matches!(public, Public::Connect) {
            let established =
                client.stream.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n");
            timeout(WRITE_TIMEOUT, established).await??;
        }
        relay(&shared.net, &mut client, &mut backend, &request).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let ended = shared.tasks.until_closing(carried).await;
    let ended = ended.unwrap_or_else(|| Err("this process ends".into()));
    match ended {
        Ok(()) => {
            assigned.keep(backend);
            request.succeeded();
        }
        Err(error) => {
            tracing::debug!(%error, "a request broke");
            // Neither end may take the cut for a clean end.
            shared.abort(client.stream);
            shared.abort(backend.stream);
            request.failed(ProxyError::DataIoError);
        }
    }
}

async fn refuse_public<N: Net>(
    shared: &Shared<N>,
    stream: N::Stream,
    cause: Cause,
    public: Public,
) {
    match public {
        Public::Http { is_head } => refuse(stream, &http_answer(cause, is_head)).await,
        Public::Connect => refuse(stream, &http_answer(cause, false)).await,
        Public::Tls => refuse(stream, &tls_alert(cause)).await,
        // Raw TCP has no words for it.
        Public::Tcp => shared.net.abort(stream),
    }
}
