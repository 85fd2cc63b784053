//! What a client sends: which of it may be passed on, because all of its requests are for
//! one name.

use super::frame::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, FRAME_HEADER_BYTES, FrameHeader, HEADERS, PADDED,
    PRIORITY, PUSH_PROMISE, SETTINGS,
};
use super::hpack::Hpack;
use super::request::Fields;
use crate::http::admission::{Admission, Stop};
use crate::http::flaw::{Flaw, H2Flaw};
use crate::limits::HEAD_BYTES;
use crate::names::Name;

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Watches what a client sends.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    hpack: Hpack,
    /// The name that all requests are for, from the first on.
    name: Option<Name>,
    /// The stream of the first request.
    first: Option<u32>,
    /// The last stream that a request was on; 0 before the first.
    last: u32,
    /// The preface has been seen.
    has_begun: bool,
    /// The SETTINGS behind it have been seen.
    has_settings: bool,
    /// The client's next acknowledgement of SETTINGS is not for the backend.
    owes_ack: bool,
    /// So many bytes may be passed on.
    free: u64,
    /// Of a header block behind those, so many bytes are whole frames and not the last.
    scanned: usize,
    flaw: Option<H2Flaw>,
}

enum Step {
    /// A whole frame, or a frame that need not be seen whole.
    Pass(u64),
    /// An acknowledgement of what the backend has not sent.
    Skip(usize),
    More,
}

impl Watch {
    /// Before the first byte of a connection that is to be for `name` only. `was_greeted` if
    /// the client was sent SETTINGS that the backend does not know of.
    pub fn of(name: Name, was_greeted: bool) -> Self {
        Self { name: Some(name), owes_ack: was_greeted, ..Self::default() }
    }

    /// The name and the stream of the first request, once that was seen.
    pub fn first_request(&self) -> Option<(&Name, u32)> {
        self.name.as_ref().zip(self.first)
    }

    /// Whether the client has said all that it must before it may wait for the server's
    /// SETTINGS.
    pub fn may_await_settings(&self) -> bool {
        self.has_settings
    }

    /// Why the connection is refused, if it is, though bytes before the fault may pass.
    pub fn flaw(&self) -> Option<H2Flaw> {
        self.flaw
    }

    /// What may be done with `bytes`, the next ones that were not passed on.
    pub fn admit(&mut self, bytes: &[u8]) -> Admission {
        while self.flaw.is_none() && self.free < bytes.len() as u64 {
            match self.step(&bytes[self.free as usize..]) {
                Ok(Step::Pass(count)) => self.free += count,
                Ok(Step::Skip(count)) if self.free == 0 => {
                    self.owes_ack = false;
                    return Admission::Skip(count);
                }
                Ok(Step::Skip(_) | Step::More) => break,
                Err(flaw) => self.flaw = Some(flaw),
            }
        }
        match (self.free, self.flaw) {
            (0, None) => Admission::More,
            (0, Some(flaw)) => Admission::Stop(Stop::Flawed(Flaw::Http2(flaw))),
            (free, _) => Admission::Pass(free),
        }
    }

    /// So many bytes have been passed on.
    pub fn passed(&mut self, count: u64) {
        self.free -= count;
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step, H2Flaw> {
        if !self.has_begun {
            return match bytes.split_at_checked(PREFACE.len()) {
                None if PREFACE.starts_with(bytes) => Ok(Step::More),
                Some((PREFACE, _)) => {
                    self.has_begun = true;
                    Ok(Step::Pass(PREFACE.len() as u64))
                }
                _ => Err(H2Flaw::Protocol),
            };
        }
        let Some(header) = FrameHeader::read(bytes) else { return Ok(Step::More) };
        let FrameHeader { length, kind, stream, .. } = header;
        let is_ack = kind == SETTINGS && header.has(ACK);
        if !self.has_settings && (kind != SETTINGS || is_ack || stream != 0) {
            return Err(H2Flaw::Protocol);
        }
        self.has_settings = true;
        match kind {
            HEADERS => self.block(header, bytes),
            CONTINUATION | PUSH_PROMISE => Err(H2Flaw::Protocol),
            SETTINGS if is_ack && length > 0 => Err(H2Flaw::FrameSize),
            SETTINGS if is_ack && self.owes_ack => Ok(Step::Skip(FRAME_HEADER_BYTES)),
            _ => Ok(Step::Pass((FRAME_HEADER_BYTES + length) as u64)),
        }
    }

    /// HEADERS, and the CONTINUATION frames that belong to it: held back until it is known
    /// whom the request is for.
    fn block(&mut self, first: FrameHeader, bytes: &[u8]) -> Result<Step, H2Flaw> {
        let end = loop {
            let at = self.scanned;
            let Some(header) = FrameHeader::read(&bytes[at..]) else { return Ok(Step::More) };
            if at > 0 && (header.kind != CONTINUATION || header.stream != first.stream) {
                return Err(H2Flaw::Protocol);
            }
            let end = at + FRAME_HEADER_BYTES + header.length;
            if end > HEAD_BYTES {
                return Err(H2Flaw::TooLarge);
            }
            if end > bytes.len() {
                return Ok(Step::More);
            }
            if header.has(END_HEADERS) {
                break end;
            }
            self.scanned = end;
        };
        self.scanned = 0;
        let mut fields = Fields::default();
        let block = fragments(first, &bytes[..end])?;
        self.hpack.decode(&block, |name, value| fields.take(name, value))?;
        if first.stream.is_multiple_of(2) {
            return Err(H2Flaw::Protocol);
        }
        if first.stream <= self.last {
            return match fields.are_trailers() && first.has(END_STREAM) {
                true => Ok(Step::Pass(end as u64)),
                false => Err(H2Flaw::Protocol),
            };
        }
        let name = fields.into_name()?;
        if self.name.get_or_insert_with(|| name.clone()) != &name {
            return Err(H2Flaw::OtherName);
        }
        self.last = first.stream;
        self.first.get_or_insert(first.stream);
        Ok(Step::Pass(end as u64))
    }
}

/// What the frames of a header block hold, without padding and priority.
fn fragments(first: FrameHeader, frames: &[u8]) -> Result<Vec<u8>, H2Flaw> {
    let (head, mut rest) = frames[FRAME_HEADER_BYTES..].split_at(first.length);
    let padding = match (first.has(PADDED), head.first()) {
        (false, _) => 0,
        (true, Some(length)) => usize::from(*length),
        (true, None) => return Err(H2Flaw::FrameSize),
    };
    let start = usize::from(first.has(PADDED)) + if first.has(PRIORITY) { 5 } else { 0 };
    if start > head.len() {
        return Err(H2Flaw::FrameSize);
    }
    let end = head.len().checked_sub(padding).ok_or(H2Flaw::Protocol)?;
    let mut block = head.get(start..end).ok_or(H2Flaw::Protocol)?.to_vec();
    while let Some(header) = FrameHeader::read(rest) {
        let (frame, behind) = rest.split_at(FRAME_HEADER_BYTES + header.length);
        block.extend_from_slice(&frame[FRAME_HEADER_BYTES..]);
        rest = behind;
    }
    Ok(block)
}
