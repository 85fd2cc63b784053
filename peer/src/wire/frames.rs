//! One end of a relay, and how its bytes lie on the connection.
//!
//! Most connections carry the bytes of a request and nothing else; their end is its
//! end. On a DATA connection that is kept, a request's bytes lie in frames, so that
//! its end is told without closing: two bytes of length (big endian), then so many
//! bytes. Two lengths are none: 0 ends the direction, 65535 says that all bytes from
//! here on are the request's, without frames, for bulk; such a connection ends with
//! the request. See "Idle DATA connections" in `ARCHITECTURE.md`.

use bytes::{Bytes, BytesMut};

/// Bytes before each frame.
pub const FRAME_HEADER_BYTES: usize = 2;

/// Most bytes in a frame.
pub const FRAME_BYTES: usize = RAW as usize - 1;

/// No frame: the direction has ended.
pub(crate) const END: u16 = 0;

/// No frame: what follows is not framed.
pub(crate) const RAW: u16 = u16::MAX;

/// Where the framing of a connection stands, in both directions.
#[derive(Debug, Default)]
pub struct Frames {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    /// Bytes already read from the connection, as they lie on it.
    pub(crate) ahead: Bytes,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not framed.
    #[default]
    Raw,
    /// Before a header, or within one.
    Header(Option<u8>),
    /// So many bytes are left of a frame.
    Frame(u16),
    Ended,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Not framed.
    #[default]
    Raw,
    /// Nothing was promised.
    Between,
    /// So many bytes of the header and of the frame after it are to be written.
    Header {
        length: u16,
        unsent: u8,
    },
    /// So many bytes are left of a frame.
    Frame(u16),
    Ended,
}

impl Frames {
    /// The bytes lie on the connection as they are; `ahead` was read already.
    pub fn raw(ahead: Bytes) -> Self {
        Self { reading: Reading::Raw, writing: Writing::Raw, ahead }
    }

    /// The bytes lie in frames; `ahead` was read already.
    pub fn framed(ahead: Bytes) -> Self {
        Self { reading: Reading::Header(None), writing: Writing::Between, ahead }
    }

    /// The header of a frame of `bytes`, to be written before them.
    ///
    /// # Panics
    /// If they are none, or more than [`FRAME_BYTES`].
    pub fn header(bytes: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        assert!((1..=FRAME_BYTES).contains(&bytes.len()), "a frame holds 1 to 65534 bytes");
        (bytes.len() as u16).to_be_bytes()
    }

    /// What was read ahead of the next request, when both directions have ended in
    /// frames and the connection can carry another; `None` if it cannot.
    pub fn into_spent(self) -> Option<Bytes> {
        let spent = self.reading == Reading::Ended && self.writing == Writing::Ended;
        spent.then_some(self.ahead)
    }

    /// Takes the headers out of what was read, and says how many bytes are left, at
    /// the front.
    pub(crate) fn unframe(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() {
            match self.reading {
                Reading::Header(None) => {
                    self.reading = Reading::Header(Some(bytes[read]));
                    read += 1;
                }
                Reading::Header(Some(high)) => {
                    self.reading = match u16::from_be_bytes([high, bytes[read]]) {
                        END => Reading::Ended,
                        RAW => Reading::Raw,
                        length => Reading::Frame(length),
                    };
                    read += 1;
                }
                Reading::Frame(left) => {
                    let count = usize::from(left).min(bytes.len() - read);
                    bytes.copy_within(read..read + count, kept);
                    read += count;
                    kept += count;
                    self.reading = match left - count as u16 {
                        0 => Reading::Header(None),
                        left => Reading::Frame(left),
                    };
                }
                Reading::Raw => {
                    bytes.copy_within(read.., kept);
                    kept += bytes.len() - read;
                    read = bytes.len();
                }
                Reading::Ended => {
                    // The next request is close behind.
                    let mut ahead = BytesMut::from(&bytes[read..]);
                    ahead.extend_from_slice(&self.ahead);
                    self.ahead = ahead.freeze();
                    read = bytes.len();
                }
            }
        }
        kept
    }
}

pub(crate) fn left_of_frame(left: u16, written: usize) -> Writing {
    match left - written as u16 {
        0 => Writing::Between,
        left => Writing::Frame(left),
    }
}
