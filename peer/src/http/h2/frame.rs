//! Frames of HTTP/2 (RFC 9113 §4.1, §6): their headers, and the few that the peer sends.

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 9;

pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The error code of a GOAWAY that is nobody's fault.
pub const GOAWAY_NO_ERROR: u8 = 0;

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    /// Bytes behind the header: 16 MiB - 1 at most.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    /// The header that `bytes` begin with, once it is whole.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v, ..] = *bytes else { return None };
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit is reserved, and ignored.
            stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A frame of fewer than 256 bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("the peer sends no longer frames");
    let mut frame = vec![0, 0, length, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What a server must say first: SETTINGS, here without any.
pub fn greeting() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// The [`greeting`], and that the connection ends for this reason.
pub fn goaway(code: u8) -> Vec<u8> {
    [greeting(), going_away(0, code)].concat()
}

/// The [`greeting`], an answer of nothing but `status`, three digits, to the request on
/// `stream`, and that no other is served.
pub fn answer(stream: u32, status: &str) -> Vec<u8> {
    // `:status`, the eighth of the static table, literal without indexing (RFC 7541 §6.2.2).
    let mut block = vec![0x08, status.len() as u8];
    block.extend_from_slice(status.as_bytes());
    let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
    let acknowledged = frame(SETTINGS, ACK, 0, &[]);
    [greeting(), acknowledged, head, going_away(stream, GOAWAY_NO_ERROR)].concat()
}

fn going_away(last: u32, code: u8) -> Vec<u8> {
    let [a, b, c, d] = last.to_be_bytes();
    frame(GOAWAY, 0, 0, &[a, b, c, d, 0, 0, 0, code])
}
