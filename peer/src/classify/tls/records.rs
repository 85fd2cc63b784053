//! An incoming ClientHello: its records (RFC 8446 §5.1) are walked as they arrive.

use std::borrow::Cow;

use super::super::opening::Opening;
use super::super::verdict::{MOST_BYTES, Refusal, Verdict};
use super::hello::{CLIENT_HELLO, MAJOR_VERSION, MESSAGE_HEADER_BYTES, read};
use super::reader::Malformed;
use crate::limits::HEAD_BYTES;

/// Content type of a record with handshake messages.
pub(in crate::classify) const HANDSHAKE_RECORD: u8 = 22;

pub(super) const RECORD_HEADER_BYTES: usize = 5;

/// Most payload of one record (RFC 8446 §5.1).
pub(super) const RECORD_PAYLOAD_BYTES: usize = 1 << 14;

/// An SSLv2 CLIENT-HELLO with its two-byte header (RFC 5246 Appendix E.2), or an
/// unknown protocol.
pub(in crate::classify) fn sslv2_opening(bytes: &[u8]) -> Option<Opening> {
    let refused = |refusal| Some(Opening::Refused(refusal));
    match bytes {
        [] | [_] | [_, _] | [_, _, CLIENT_HELLO] => None,
        [_, _, CLIENT_HELLO, MAJOR_VERSION, ..] => refused(Refusal::BadClientHello),
        [_, _, CLIENT_HELLO, 0] => None,
        [_, _, CLIENT_HELLO, 0, 2, ..] => refused(Refusal::BadClientHello),
        _ => refused(Refusal::UnknownProtocol),
    }
}

/// An incoming ClientHello.
#[derive(Debug, Clone, Default)]
pub(in crate::classify) struct Hello {
    /// How many bytes of the connection have been walked.
    walked: usize,
    /// Payload of the current record that is still to come.
    record_left: usize,
    /// Bytes of the message walked.
    message: usize,
    /// The first of them: type and length.
    header: [u8; MESSAGE_HEADER_BYTES],
}

impl Hello {
    /// The verdict, once the message is whole or known to be bad.
    pub(in crate::classify) fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        match self.walk(bytes) {
            Ok(true) => Some(read(&self.gather(bytes)).unwrap_or_else(Verdict::Refused)),
            Ok(false) if bytes.len() < MOST_BYTES => None,
            Ok(false) | Err(Malformed) => Some(Verdict::Refused(Refusal::BadClientHello)),
        }
    }

    /// Walks what has come; whether the message is whole.
    fn walk(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        loop {
            if self.is_whole()? {
                return Ok(true);
            }
            let rest = bytes.get(self.walked..).unwrap_or_default();
            if self.record_left > 0 {
                if rest.is_empty() {
                    return Ok(false);
                }
                self.take_payload(rest);
                continue;
            }
            let Some(length) = record_length(rest)? else { return Ok(false) };
            if self.walked + RECORD_HEADER_BYTES + length > MOST_BYTES {
                return Err(Malformed);
            }
            self.walked += RECORD_HEADER_BYTES;
            self.record_left = length;
        }
    }

    fn take_payload(&mut self, rest: &[u8]) {
        let count = rest.len().min(self.record_left);
        if let Some(header) = self.header.get_mut(self.message..) {
            let count = count.min(header.len());
            header[..count].copy_from_slice(&rest[..count]);
        }
        self.message += count;
        self.record_left -= count;
        self.walked += count;
    }

    /// Whether the message is complete. It must end with its record: a ClientHello
    /// is alone in its flight, and keys may change after it (RFC 8446 §5.1).
    fn is_whole(&self) -> Result<bool, Malformed> {
        if self.message > 0 && self.header[0] != CLIENT_HELLO {
            return Err(Malformed);
        }
        if self.message < MESSAGE_HEADER_BYTES {
            return Ok(false);
        }
        let [_, high, middle, low] = self.header;
        let body = u32::from_be_bytes([0, high, middle, low]) as usize;
        let total = MESSAGE_HEADER_BYTES + body;
        if total > HEAD_BYTES || self.message + self.record_left > total {
            return Err(Malformed);
        }
        Ok(self.message == total)
    }

    /// The whole message, out of its records.
    fn gather<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut records = Records { rest: &bytes[..self.walked] };
        let first = records.next().unwrap_or_default();
        if records.rest.is_empty() {
            return Cow::Borrowed(first);
        }
        let mut message = Vec::with_capacity(self.message);
        message.extend_from_slice(first);
        records.for_each(|payload| message.extend_from_slice(payload));
        Cow::Owned(message)
    }
}

/// The payloads of complete records.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (header, rest) = self.rest.split_at_checked(RECORD_HEADER_BYTES)?;
        let length = u16::from_be_bytes([header[3], header[4]]);
        let (payload, rest) = rest.split_at_checked(length.into())?;
        self.rest = rest;
        Some(payload)
    }
}

/// The payload length in the record header that `rest` begins with; `None` when the
/// header is incomplete and valid so far.
fn record_length(rest: &[u8]) -> Result<Option<usize>, Malformed> {
    let is = |index, expected| rest.get(index).is_none_or(|&byte| byte == expected);
    if !is(0, HANDSHAKE_RECORD) || !is(1, MAJOR_VERSION) {
        return Err(Malformed);
    }
    let [_, _, _, high, low, ..] = *rest else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        length @ 1..=RECORD_PAYLOAD_BYTES => Ok(Some(length)),
        _ => Err(Malformed),
    }
}
