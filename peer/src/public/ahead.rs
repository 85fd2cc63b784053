//! What an edge reads of its client before a stretch begins.

use std::ops::Range;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::refusal::Cause;
use crate::classify::Refusal;
use crate::http::{Admission, Asks, Conversation, Flaw, RequestHead, Told};
use crate::observe::metrics::Rejection;

/// How a message without one meaning is refused.
pub(super) fn refusal_of(flaw: Flaw) -> (Rejection, Cause) {
    match Refusal::from(flaw) {
        Refusal::HeadTooLarge => (Rejection::HeadTooLarge, Cause::HeadTooLarge),
        Refusal::Http2(_) => (Rejection::BadH2, Cause::BadFraming),
        Refusal::BadFraming => (Rejection::BadFraming, Cause::BadFraming),
        _ => (Rejection::BadHead, Cause::BadHead),
    }
}

/// How many of the first bytes belong to the stretch, and where the heads among them are.
pub(super) fn admit(conversation: &mut Conversation, bytes: &[u8]) -> (usize, Vec<Range<usize>>) {
    let mut admitted = 0;
    let mut heads = Vec::new();
    while admitted < bytes.len() {
        let rest = &bytes[admitted..];
        let Admission::Pass(count) = conversation.admit_request(rest) else { break };
        heads.extend(conversation.request_head().map(|length| admitted..admitted + length));
        let count = count.min(rest.len() as u64);
        conversation.passed_request(count);
        admitted += count as usize;
    }
    (admitted, heads)
}

/// The first bytes of a stretch, with its backend told of the client in each head; and how
/// long each head was, and is.
pub(super) fn reworded(
    told: &mut Told,
    bytes: &[u8],
    heads: &[Range<usize>],
) -> (BytesMut, Vec<(usize, usize)>) {
    let mut out = BytesMut::new();
    let mut lengths = Vec::with_capacity(heads.len());
    let mut at = 0;
    for (nth, head) in (1..).zip(heads) {
        out.extend_from_slice(&bytes[at..head.start]);
        let before = out.len();
        told.reword(nth, &bytes[head.clone()], &mut out);
        lengths.push((head.len(), out.len() - before));
        at = head.end;
    }
    out.extend_from_slice(&bytes[at..]);
    (out, lengths)
}

/// A stream and what was read of it.
pub(super) struct Reading<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) read: &'a mut BytesMut,
}

impl<S: AsyncRead + Unpin> Reading<'_, S> {
    /// Reads some more, and says how much; 0 at the end.
    pub(super) async fn more(&mut self) -> std::io::Result<usize> {
        self.read.reserve(1024);
        self.stream.read_buf(self.read).await
    }
}

/// Where a request ends that begins `read`, with a head of `length` bytes, and is answered
/// in place; `None` where that is not known, or the connection is to end with it.
pub(super) fn end_of(head: &RequestHead, length: usize, read: &[u8]) -> Option<usize> {
    if head.closes || head.expects || head.upgrade || head.asks == Asks::Connect {
        return None;
    }
    let mut body = head.body.clone();
    body.end_in(&read[length..]).map(|end| length + end)
}
