//! One request of HTTP/2: what a client sends on its stream, and whether the answer is the
//! right one, as in [`conversation`](super::conversation).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Version};
use tokio::sync::Notify;

use super::conversation::NOT_FORWARDED;
use super::directions::both;
use super::orders::{AnsweredBy, Order};
use super::outcome::{Answered, Ending};
use super::paced::{Over, Signs};
use super::progress::Progress;
use crate::ground::Ground;
use crate::message::{
    BACKEND, NEVER, READ, SUM, body_of, digest, field_lines, in_pieces, read, sum_of,
};
use crate::payload::Pattern;
use crate::scenario::steps::{Answer, Exchange};

/// Requests have a field of up to this many bytes, so that older ones fall out of the table of
/// fields, which has 4 KiB.
const FILLER_BYTES: u64 = 1500;

/// One request, and what must become of it.
pub(super) struct Asked<'a> {
    exchange: &'a Exchange,
    /// The backends that may answer.
    by: &'a BTreeSet<String>,
    head: Request<()>,
    body: Vec<u8>,
    /// What its backend must say that it has read.
    reads: String,
    /// The pattern of what is sent; that of the answer follows from it.
    up: Pattern,
    /// It is for another name than the first of its connection: nobody may answer.
    is_misplaced: bool,
}

impl<'a> Asked<'a> {
    /// All that a client asks for on one connection, in order.
    pub(super) fn all(order: &'a Order, seed: u64) -> Vec<Self> {
        let exchanges = &order.request.exchanges;
        let first = exchanges.first().map(Exchange::plain_name);
        let one = |(number, (exchange, by)): (u64, (&'a Exchange, &'a AnsweredBy))| {
            let is_misplaced = first.as_ref() != Some(&exchange.plain_name());
            Self::new(exchange, &by.backends, Pattern(seed << 16 | number << 1), is_misplaced)
        };
        (0..).zip(exchanges.iter().zip(&order.answered_by)).map(one).collect()
    }

    fn new(
        exchange: &'a Exchange,
        by: &'a BTreeSet<String>,
        up: Pattern,
        is_misplaced: bool,
    ) -> Self {
        let Exchange { name, answer, interim, download, upload, .. } = exchange;
        let method = exchange.method();
        let target = format!("/{answer}/{interim}/{download}?seed={}", up.0);
        let body = body_of(up, upload.0);
        let trailers = if exchange.chunked { field_lines(&sum_of(&body)) } else { String::new() };
        let reads = read(method, &target, name, &body, &trailers);
        let mut head = Request::builder()
            .method(method)
            .uri(format!("http://{name}{target}"))
            .version(Version::HTTP_2)
            .header("x-filler", filler(up));
        if !exchange.chunked && !body.is_empty() {
            head = head.header("content-length", body.len());
        }
        if exchange.expects {
            head = head.header("expect", "100-continue");
        }
        if is_misplaced {
            head = head.header(NEVER, "true");
        }
        let head = head.body(()).expect("a checked scenario has names and methods");
        Self { exchange, by, head, body, reads, up, is_misplaced }
    }

    /// Sends what follows the head.
    fn send_body(&self, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        let chunked = self.exchange.chunked;
        let mut pieces = in_pieces(self.up, &self.body).peekable();
        while let Some(piece) = pieces.next() {
            let is_last = !chunked && pieces.peek().is_none();
            stream.send_data(Bytes::copy_from_slice(piece), is_last)?;
        }
        if chunked { stream.send_trailers(sum_of(&self.body)) } else { Ok(()) }
    }
}

/// A value of a field, of a length that follows from the pattern.
fn filler(pattern: Pattern) -> String {
    let mut bytes = [0; 2];
    pattern.fill(0, &mut bytes);
    let length = u64::from(u16::from_le_bytes(bytes)) % FILLER_BYTES;
    let mut text = body_of(pattern, length);
    text.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    String::from_utf8(text).expect("it is letters")
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// Nothing: a peer could not forward, and the connection ends.
    Refused,
}

/// What the streams of one connection have in common.
pub(super) struct Asking<'a, N: Ground> {
    progress: &'a Progress<N>,
    signs: Rc<Signs>,
    /// Payload after which the client has enough, in bytes.
    left: Cell<u64>,
    enough: Notify,
}

impl<'a, N: Ground> Asking<'a, N> {
    /// Before the first request, by a client that leaves after so many bytes.
    pub(super) fn new(progress: &'a Progress<N>, signs: Rc<Signs>, abort_after: u64) -> Self {
        Self { progress, signs, left: Cell::new(abort_after), enough: Notify::new() }
    }

    /// What was heard on the connection.
    pub(super) fn signs(&self) -> &Signs {
        &self.signs
    }

    /// Waits until the client has as much as it wanted.
    pub(super) async fn has_enough(&self) {
        while self.left.get() > 0 {
            self.enough.notified().await;
        }
    }

    /// One more answer is there, in order.
    pub(super) fn got(&self, answer: Answered) {
        self.progress.got(answer);
    }

    /// What the client takes an error for: of a stream of which something `came`, or nothing.
    pub(super) fn ended(&self, error: &h2::Error, came: bool) -> Ending {
        match self.signs.over() {
            _ if error.is_library() => wrong(&format!("no HTTP/2: {error}")),
            Some(Over::Failed(kind)) => Ending::Failed(kind.to_string()),
            // As if it were the end of all that there is.
            Some(Over::Ended) if came => Ending::Cut,
            Some(Over::Ended) => Ending::Closed,
            None if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) => {
                Ending::Closed
            }
            None => Ending::Failed(error.to_string()),
        }
    }

    /// Asks, and hears the answer.
    pub(super) async fn ask(
        &self,
        sender: SendRequest<Bytes>,
        asked: &Asked<'_>,
    ) -> Result<(Answered, Then), Ending> {
        let ended = |error| self.ended(&error, false);
        let mut sender = sender.ready().await.map_err(ended)?;
        let is_whole = asked.body.is_empty() && !asked.exchange.chunked;
        let sent = sender.send_request(asked.head.clone(), is_whole);
        let (answer, mut stream) = sent.map_err(ended)?;
        drop(sender);
        let may_follow = Notify::new();
        let sending = async {
            if is_whole {
                return Ok(());
            }
            if asked.exchange.expects {
                may_follow.notified().await;
            }
            asked.send_body(&mut stream).map_err(io::Error::other)
        };
        both(sending, self.hear(answer, asked, &may_follow)).await
    }

    async fn hear(
        &self,
        mut answer: ResponseFuture,
        asked: &Asked<'_>,
        may_follow: &Notify,
    ) -> Result<(Answered, Then), Ending> {
        let exchange = asked.exchange;
        let (mut interim, mut continued) = (0, 0);
        while let Some(head) = poll_fn(|cx| answer.poll_informational(cx)).await {
            self.progress.answered();
            match head.map_err(|error| self.ended(&error, false))?.status().as_u16() {
                100 => {
                    continued += 1;
                    may_follow.notify_one();
                }
                103 => interim += 1,
                status => return Err(wrong(&format!("nobody sends {status}"))),
            }
        }
        let came = interim + continued > 0;
        let (head, body) = answer.await.map_err(|error| self.ended(&error, came))?.into_parts();
        self.progress.answered();
        let status = head.status.as_u16();
        let Some(by) = field(&head.headers, BACKEND) else {
            // Who has seen the end of the connection says nothing more of its streams.
            let is_bare = body.is_end_stream() || self.signs.over().is_some();
            return match NOT_FORWARDED.contains(&status) && is_bare {
                true if asked.is_misplaced => Err(wrong("an answer beside the name")),
                true => Ok((Answered { status, by_backend: false }, Then::Refused)),
                false => Err(wrong(&format!("nobody may answer {status}: {:?}", asked.reads))),
            };
        };
        let told = |what: &str| wrong(&format!("{by} answered {status}: {what}"));
        if asked.is_misplaced || !asked.by.contains(by) {
            return Err(told(&format!("it does not serve {} here", exchange.name)));
        }
        let answered = Answered { status, by_backend: true };
        let Some(read) = field(&head.headers, READ) else {
            // It has not read the request, and resets the connection within its answer.
            return self.nothing_whole(body, exchange).await.map(|()| (answered, Then::GoOn));
        };
        if read != asked.reads {
            return Err(told(&format!("it has read {read:?}, not {:?}", asked.reads)));
        }
        if status != exchange.answer.status() {
            return Err(told(&format!("it sent {}", exchange.answer.status())));
        }
        let expected = (exchange.interim, u32::from(exchange.expects));
        if (interim, continued) != expected {
            return Err(told(&format!("{interim} and {continued} interim, not {expected:?}")));
        }
        let length = field(&head.headers, "content-length").and_then(|text| text.parse().ok());
        let has_length = matches!(exchange.answer, Answer::Length | Answer::NotModified);
        if length != has_length.then_some(exchange.download.0) {
            return Err(told("the length of the answer is another"));
        }
        self.body(body, asked).await?;
        self.progress.sent(asked.body.len() as u64);
        Ok((answered, Then::GoOn))
    }

    /// The body of an answer, as its backend sent it, or as much of it as the client wants.
    async fn body(&self, mut body: RecvStream, asked: &Asked<'_>) -> Result<(), Ending> {
        let exchange = asked.exchange;
        let pattern = Pattern(asked.up.0 | 1);
        let resets_after = exchange.resets_after.map_or(u64::MAX, |size| size.0);
        let mut got = 0;
        // Whoever lets go of a stream before its end resets it.
        while got < resets_after {
            let Some(bytes) = self.more(&mut body).await? else { break };
            if !pattern.matches(got, &bytes) {
                return Err(wrong(&format!("foreign bytes after {got}")));
            }
            got += bytes.len() as u64;
        }
        if got >= resets_after {
            return Ok(());
        }
        let length = if exchange.is_bodiless() { 0 } else { exchange.download.0 };
        if got != length {
            return Err(wrong(&format!("{got} bytes came of {length}")));
        }
        let trailers = body.trailers().await.map_err(|error| self.ended(&error, true))?;
        let sum = trailers.as_ref().and_then(|fields| field(fields, SUM));
        let has_sum = exchange.answer == Answer::Chunked && !exchange.is_bodiless();
        match has_sum.then(|| digest(&body_of(pattern, length))) {
            expected if expected.as_deref() == sum => Ok(()),
            _ => Err(wrong(&format!("the trailers are {trailers:?}"))),
        }
    }

    /// An answer that its backend does not end.
    async fn nothing_whole(&self, mut body: RecvStream, exchange: &Exchange) -> Result<(), Ending> {
        while self.more(&mut body).await?.is_some() {}
        if exchange.is_head() { Ok(()) } else { Err(wrong("half an answer looks whole")) }
    }

    /// Payload of a backend; none at its end.
    async fn more(&self, body: &mut RecvStream) -> Result<Option<Bytes>, Ending> {
        let Some(bytes) = body.data().await else { return Ok(None) };
        let bytes = bytes.map_err(|error| self.ended(&error, true))?;
        // Only a stream that is over takes nothing back.
        let _ = body.flow_control().release_capacity(bytes.len());
        self.progress.received(bytes.len() as u64);
        self.left.set(self.left.get().saturating_sub(bytes.len() as u64));
        if self.left.get() == 0 {
            self.enough.notify_one();
        }
        Ok(Some(bytes))
    }
}

fn field<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn wrong(what: &str) -> Ending {
    Ending::Corrupt(what.to_owned())
}
