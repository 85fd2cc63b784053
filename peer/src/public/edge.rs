//! HTTP by request: each goes where its Host says, over one connection of a client.
//!
//! A stretch of requests for one name is one routed request of this peer: it has one FORWARD
//! and one DATA connection. Another name waits for the answers before it, and begins the
//! next stretch. What cannot be served is answered in place.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::ahead::{Reading, admit, end_of, refusal_of, reworded};
use super::refusal::{After, Cause, Refused, Speaks, http_answer, redirect};
use crate::forward::{Asked, Forwarded, forward};
use crate::http::{
    Asks, Client, Conversation, Exchange, Flaw, HeadEnd, RequestHead, RequestLine, Told,
    read_request,
};
use crate::limits::{HEAD_DEADLINE, KEEP_ALIVE, WRITE_TIMEOUT};
use crate::mesh::admission::Ticket;
use crate::names::Name;
use crate::observe::metrics::{Protocol, Rejection};
use crate::offer;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::stream::relay::Ahead;
use crate::stream::transport::Transport;
use crate::tasks::{Busy, Phase};
use crate::trace_context::TraceContext;
use crate::trust::front::{Certified, Front};
use crate::wire::TlsVersion;

/// A client that speaks HTTP.
pub(super) struct Edge<N: Net> {
    pub(super) shared: Arc<Shared<N>>,
    pub(super) stream: Transport<N::Stream>,
    pub(super) source: SocketAddr,
    /// The address that it connected to, where it is known.
    pub(super) dest: Option<SocketAddr>,
    /// A trusted proxy speaks for it.
    pub(super) trusted: bool,
    /// Its TLS ended here.
    pub(super) front: Option<Ended>,
    /// What was read and belongs to no stretch yet.
    pub(super) read: BytesMut,
    /// Kept until the connection ends.
    pub(super) ticket: Ticket,
    pub(super) busy: Busy,
}

/// TLS of a client that ended here.
pub(super) struct Ended {
    /// What the client was shown.
    pub(super) certified: Arc<Certified>,
    /// The version of its TLS.
    pub(super) version: TlsVersion,
}

impl Ended {
    /// Whether a request for `name` may come in this TLS (RFC 9110 §7.4).
    pub(super) fn covers(&self, name: &Name) -> bool {
        self.certified.covers(name)
    }
}

/// A request that is connected to its backend, with those that follow it for the same name.
pub(super) struct Stretch<N: Net> {
    pub(super) edge: Edge<N>,
    pub(super) forwarded: Forwarded<N>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Conversation(Box<Conversation>, Ahead),
    Tunnel(Box<Exchange>),
}

impl<N: Net> Edge<N> {
    /// Reads the next request and connects it. `None` when the connection has ended, or is
    /// refused.
    pub(super) async fn route(mut self) -> Option<Stretch<N>> {
        loop {
            let (length, head) = match self.next_head().await {
                Ok(Some(head)) => head,
                Ok(None) => return None,
                Err(cause) => {
                    self.refuse(cause).await;
                    return None;
                }
            };
            let is_tunnel = head.asks == Asks::Connect;
            let speaks = match head.asks {
                Asks::Connect => Speaks::Connect,
                asks => Speaks::Http { is_head: asks == Asks::Head },
            };
            let now = Instant::now();
            if self.shared.tasks.phase() >= Phase::Finishing {
                self.shared.metrics.rejected(Rejection::Draining);
                let refused = Refused::now(&self.shared, self.source, Some(&head.name), speaks);
                refused.close(self.stream, Cause::Draining).await;
                return None;
            }
            if let Some(cause) = self.misdirected(&head) {
                let request_head = &self.read[..length];
                let answer = match cause {
                    Cause::Redirect => redirect(&head.name, request_head),
                    _ => http_answer(cause, head.asks == Asks::Head, After::Stay),
                };
                let line = self.shared.access.as_ref().and_then(|_| RequestLine::of(request_head));
                let exchange = Exchange::begin(1, line, now);
                self = self.answer_here(&head, length, speaks, exchange, cause, answer).await?;
                continue;
            }
            let mut conversation = Box::new(Conversation::new(head.name.clone(), now));
            if self.shared.access.is_some() {
                conversation.keep_lines();
            }
            let traces = self.shared.tracing.is_some();
            let trace = traces.then(|| TraceContext::of_head(&self.read[..length])).flatten();
            let (admitted, heads) = if is_tunnel {
                self.read.advance(length);
                (self.read.len(), Vec::new())
            } else {
                admit(&mut conversation, &self.read)
            };
            let client = self.client();
            let forwarded = {
                let bytes = &self.read[..admitted];
                let first = |id, forwarded| match forwarded {
                    true => {
                        Cow::Owned(reworded(&mut Told::new(client, id), bytes, &heads).0.into())
                    }
                    false => Cow::Borrowed(bytes),
                };
                let asked = Asked {
                    id: None,
                    deadline: None,
                    name: &head.name,
                    way: if is_tunnel { offer::Way::Connect } else { offer::Way::Http },
                    protocol: self.protocol(),
                    source: self.source,
                    dest: self.dest,
                    tls: self.front.as_ref().map(|front| front.version),
                    trace,
                    head: &first,
                };
                let reset = pin!(self.shared.net.reset(self.stream.inner_mut()));
                forward(&self.shared, asked, reset)
                    .await
                    .map(|forwarded| forwarded.log(&asked, !is_tunnel))
            };
            match forwarded {
                Ok(forwarded) => {
                    let mut admitted = self.read.split_to(admitted);
                    if forwarded.assigned.is_told_of_clients() && !is_tunnel {
                        let mut told = Told::new(client, forwarded.id);
                        // What has gone on already is looked at again for the log alone.
                        if !forwarded.head_sent || self.shared.access.is_some() {
                            let lengths;
                            (admitted, lengths) = reworded(&mut told, &admitted, &heads);
                            conversation.reworded(lengths);
                        }
                        conversation.tell(told);
                    }
                    if forwarded.head_sent {
                        admitted.clear();
                    }
                    let ahead =
                        Ahead { admitted: admitted.freeze(), held: std::mem::take(&mut self.read) };
                    let kind = match is_tunnel {
                        true => {
                            self.read = BytesMut::from(&ahead.admitted[..]);
                            Kind::Tunnel(Box::new(Exchange::begin(1, None, now)))
                        }
                        false => Kind::Conversation(conversation, ahead),
                    };
                    return Some(Stretch { edge: self, forwarded, kind });
                }
                Err(why) => {
                    let cause = Cause::NotForwarded(why);
                    let exchange = conversation.into_first();
                    let exchange = exchange.unwrap_or_else(|| Exchange::begin(1, None, now));
                    let answer = http_answer(cause, head.asks == Asks::Head, After::Stay);
                    self = self.answer_here(&head, length, speaks, exchange, cause, answer).await?;
                }
            }
        }
    }

    /// Answers a request in place, and goes on where its end is known.
    async fn answer_here(
        mut self,
        head: &RequestHead,
        length: usize,
        speaks: Speaks,
        exchange: Exchange,
        cause: Cause,
        answer: Vec<u8>,
    ) -> Option<Self> {
        // A client that is gone reads no answer, and what it asked for as well is asked of nobody.
        let stays = self.shared.tasks.phase() < Phase::Draining && !cause.is_client_gone();
        let end = end_of(head, length, &self.read).filter(|_| stays);
        let (name, client) = (Some(&head.name), self.source);
        let shared = self.shared.clone();
        let refused = Refused { shared: &*shared, client, name, speaks, exchange };
        let Some(end) = end else {
            match cause {
                Cause::Redirect => refused.close_with(self.stream, cause, &answer).await,
                _ => refused.close(self.stream, cause).await,
            }
            return None;
        };
        self.read.advance(end);
        let written = async {
            self.stream.write_all(&answer).await?;
            self.stream.flush().await
        };
        let is_sent = matches!(timeout(WRITE_TIMEOUT, written).await, Ok(Ok(())));
        refused.answered(cause, is_sent);
        is_sent.then_some(self)
    }

    /// The next head, complete, at the front of what was read.
    async fn next_head(&mut self) -> Result<Option<(usize, RequestHead)>, Cause> {
        let mut end = HeadEnd::default();
        let mut deadline = Instant::now() + HEAD_DEADLINE;
        loop {
            let start = if self.read.starts_with(b"\r\n") { 2 } else { 0 };
            end.begin_at(start);
            if let Some(length) = end.find(&self.read).map_err(|flaw| self.flawed(flaw))? {
                let head = read_request(&self.read[start..length]);
                return Ok(Some((length, head.map_err(|flaw| self.flawed(flaw))?)));
            }
            let is_idle = self.read.is_empty();
            let until = if is_idle { Instant::now() + KEEP_ALIVE } else { deadline };
            let mut reading = Reading { stream: &mut self.stream, read: &mut self.read };
            let more = async {
                tokio::select! {
                    biased;
                    more = reading.more() => more,
                    // Nobody waits for a client that has asked for nothing.
                    () = self.shared.tasks.entered(Phase::Finishing), if is_idle => Ok(0),
                }
            };
            match timeout_at(until, more).await {
                Ok(Ok(0) | Err(_)) => {
                    if !is_idle {
                        self.shared.metrics.rejected(Rejection::HeadIncomplete);
                    }
                    return Ok(None);
                }
                Ok(Ok(_)) if is_idle => deadline = Instant::now() + HEAD_DEADLINE,
                Ok(Ok(_)) => {}
                Err(_) if is_idle => return Ok(None),
                Err(_) => return Err(self.late()),
            }
        }
    }

    /// Its client, as backends are told of it.
    fn client(&self) -> Client {
        let Self { source, trusted, front, .. } = self;
        Client { ip: source.ip(), secure: front.is_some(), trusted: *trusted }
    }

    /// How its requests are counted.
    pub(super) fn protocol(&self) -> Protocol {
        if self.front.is_some() { Protocol::Https } else { Protocol::Http }
    }

    /// Where the client is to ask instead, if not here.
    fn misdirected(&self, head: &RequestHead) -> Option<Cause> {
        match &self.front {
            Some(front) => (!front.covers(&head.name)).then_some(Cause::Misdirected),
            None => {
                let is_secure = |front: &Front| front.certificate(&head.name).is_some();
                let redirects = self.shared.config().redirect_https && head.asks != Asks::Connect;
                let front = self.shared.front.as_ref().filter(|_| redirects);
                front.is_some_and(is_secure).then_some(Cause::Redirect)
            }
        }
    }

    /// Counts a head without one meaning.
    pub(super) fn flawed(&self, flaw: Flaw) -> Cause {
        let (rejection, cause) = refusal_of(flaw);
        self.shared.metrics.rejected(rejection);
        tracing::debug!(source = %self.source, reason = %rejection, "refused a request");
        cause
    }

    /// Counts a head that did not get whole.
    pub(super) fn late(&self) -> Cause {
        self.shared.metrics.rejected(Rejection::HeadTimeout);
        Cause::HeadTimeout
    }

    /// Refuses what has no name.
    pub(super) async fn refuse(self, cause: Cause) {
        let speaks = Speaks::Http { is_head: false };
        Refused::now(&self.shared, self.source, None, speaks).close(self.stream, cause).await;
    }
}
