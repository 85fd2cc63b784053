//! One HTTP request and its answer, as they are counted and logged.

use tokio::time::Instant;

use crate::limits::{HTTP_METHOD_BYTES, TARGET_BYTES_KEPT};

#[cfg(test)]
pub(super) use tests::now;

/// A request and its answer, from the moment its head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What it asked for; kept only where that was wanted.
    pub line: Option<Box<RequestLine>>,
    /// Which one it is within its stretch, from 1.
    pub number: u64,
    /// The status of its answer, interim ones aside, once a part of that was passed on.
    pub status: Option<u16>,
    /// Bytes of the client that were passed on before the answer was complete, head
    /// included.
    pub sent: u64,
    /// Bytes of the backend that were passed on, heads of interim answers included.
    pub received: u64,
    /// When its head was read.
    pub asked: Instant,
    /// When the first bytes of its answer were passed on.
    pub answered: Option<Instant>,
    /// When the last byte of the answer was, or when it was given up.
    pub ended: Instant,
    /// The answer was passed on to its end.
    pub is_whole: bool,
}

/// Method and target of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// The method, cut off at [`HTTP_METHOD_BYTES`].
    pub method: String,
    /// The target as it came, cut off at [`TARGET_BYTES_KEPT`].
    pub target: String,
}

impl Exchange {
    /// A request whose head was read at `now`.
    pub fn begin(number: u64, line: Option<Box<RequestLine>>, now: Instant) -> Self {
        Self {
            line,
            number,
            status: None,
            sent: 0,
            received: 0,
            asked: now,
            answered: None,
            ended: now,
            is_whole: false,
        }
    }

    /// A head of the first length, counted already or counted next, went on as one of the
    /// second.
    pub fn reworded(&mut self, head: usize, instead: usize) {
        self.sent = self.sent.wrapping_add(instead as u64).wrapping_sub(head as u64);
    }

    /// A part of the answer with this status was passed on.
    pub fn answer(&mut self, status: u16, now: Instant) {
        self.status.get_or_insert(status);
        self.answered.get_or_insert(now);
    }

    /// It is over.
    pub fn end(mut self, is_whole: bool, now: Instant) -> Self {
        (self.is_whole, self.ended) = (is_whole, now);
        self
    }

    /// It was answered by this peer with `status`, or was not answered.
    pub fn answered_here(mut self, status: Option<u16>, now: Instant) -> Self {
        if let Some(status) = status {
            self.answer(status, now);
        }
        self.end(false, now)
    }
}

impl RequestLine {
    /// Of a head that was found good.
    pub fn of(head: &[u8]) -> Option<Box<Self>> {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let mut words = head.split(|byte| matches!(byte, b' ' | b'\r')).take(2);
        let (method, target) = (words.next()?, words.next()?);
        let text = |bytes: &[u8], most: usize| {
            String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
        };
        Some(Box::new(Self {
            method: text(method, HTTP_METHOD_BYTES),
            target: text(target, TARGET_BYTES_KEPT),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time, for tests of what is told it.
    pub(in crate::http) fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_request_line_is_read_and_cut_off() {
        let line = |head: &[u8]| *RequestLine::of(head).unwrap();
        let plain = line(b"\r\nGET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((plain.method.as_str(), plain.target.as_str()), ("GET", "/a?b=c"));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * TARGET_BYTES_KEPT));
        assert_eq!(line(long.as_bytes()).target.len(), TARGET_BYTES_KEPT);
    }
}
