//! How the bytes of a request are framed on a connection.
//!
//! Most connections carry only the bytes of one request, and end when it ends. A DATA
//! connection that is kept carries them in frames, so that a request can end without
//! closing it: two bytes of length (big endian), then that many bytes. Two lengths are
//! special. 0 ends the direction. 65535 means that all further bytes belong to the
//! request, without frames; this is for bulk, and such a connection ends with the
//! request. See "Idle DATA connections" in `ARCHITECTURE.md`.

use bytes::{Bytes, BytesMut};

/// Bytes before each frame.
pub const FRAME_HEADER_BYTES: usize = 2;

/// Most bytes in a frame.
pub const FRAME_BYTES: usize = RAW as usize - 1;

/// Not a frame: the direction has ended.
pub(crate) const END: u16 = 0;

/// Not a frame: what follows is not framed.
pub(crate) const RAW: u16 = u16::MAX;

/// The state of a connection's framing, in both directions.
#[derive(Debug, Default)]
pub struct Frames {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    /// Bytes already read from the connection, still framed.
    pub(crate) ahead: Bytes,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not framed.
    #[default]
    Raw,
    /// Before a header, or within one.
    Header(Option<u8>),
    /// How many bytes of a frame are left.
    Frame(u16),
    Ended,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Not framed.
    #[default]
    Raw,
    /// Between frames.
    Between,
    /// How many bytes of the header, and of the frame after it, are still to be written.
    Header {
        length: u16,
        unsent: u8,
    },
    /// How many bytes of a frame are left.
    Frame(u16),
    Ended,
}

impl Frames {
    /// Bytes without frames; `ahead` has already been read.
    pub fn raw(ahead: Bytes) -> Self {
        Self { reading: Reading::Raw, writing: Writing::Raw, ahead }
    }

    /// Bytes in frames; `ahead` has already been read.
    pub fn framed(ahead: Bytes) -> Self {
        Self { reading: Reading::Header(None), writing: Writing::Between, ahead }
    }

    /// The header of a frame of `bytes`, to be written before them.
    ///
    /// # Panics
    /// If there are none, or more than [`FRAME_BYTES`].
    pub fn header(bytes: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        assert!((1..=FRAME_BYTES).contains(&bytes.len()), "a frame holds 1 to 65534 bytes");
        (bytes.len() as u16).to_be_bytes()
    }

    /// The payload of the first frame of `ahead`, and what follows it, if it is a whole frame
    /// of payload.
    pub fn split_first(ahead: &Bytes) -> Option<(Bytes, Bytes)> {
        let header = ahead.first_chunk::<FRAME_HEADER_BYTES>()?;
        let length = u16::from_be_bytes(*header);
        let end = FRAME_HEADER_BYTES + usize::from(length);
        let is_payload = length != END && length != RAW && ahead.len() >= end;
        is_payload.then(|| (ahead.slice(FRAME_HEADER_BYTES..end), ahead.slice(end..)))
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
                    // The next request has already arrived.
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
