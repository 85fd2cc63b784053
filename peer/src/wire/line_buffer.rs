//! Cuts a byte stream into lines.

use bytes::{Buf, Bytes, BytesMut};

use super::codes::ErrorCode;
use super::error::WireError;
use crate::limits::LINE_BYTES;

/// Cuts a byte stream into lines. Bytes after a line are kept until requested, so that
/// none are lost when the stream changes its meaning.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: BytesMut,
    /// How many bytes are known to contain no LF.
    searched: usize,
}

impl LineBuffer {
    /// A buffer with the bytes already read.
    pub fn starting_with(bytes: &[u8]) -> Self {
        Self { bytes: BytesMut::from(bytes), searched: 0 }
    }

    /// Adds what was read. Call [`next_line`](Self::next_line) until it returns
    /// `None` before adding more: this bounds the buffer to one line plus one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its LF.
    ///
    /// # Errors
    /// `line_too_long` once more than [`LINE_BYTES`] arrive without an LF.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, WireError> {
        let too_long = WireError::new(ErrorCode::LineTooLong, "the line is longer than 8192 bytes");
        let window = &self.bytes[self.searched..];
        match window.iter().position(|&byte| byte == b'\n') {
            Some(offset) if self.searched + offset > LINE_BYTES => Err(too_long),
            Some(offset) => {
                let line = self.bytes.split_to(self.searched + offset).freeze();
                self.bytes.advance(1);
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.bytes.len() > LINE_BYTES => Err(too_long),
            None => {
                self.searched = self.bytes.len();
                Ok(None)
            }
        }
    }

    /// Whether nothing follows the last line taken.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What follows the last line taken.
    pub fn into_rest(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_8192_bytes_passes_and_one_more_does_not() {
        let mut buffer = LineBuffer::default();
        buffer.push(&[b'x'; LINE_BYTES]);
        assert_eq!(buffer.next_line(), Ok(None));
        buffer.push(b"\nrest");
        assert_eq!(buffer.next_line().unwrap().unwrap().len(), LINE_BYTES);
        assert_eq!(buffer.next_line(), Ok(None));
        assert_eq!(buffer.into_rest(), &b"rest"[..]);

        let mut buffer = LineBuffer::starting_with(&[b'x'; LINE_BYTES + 1]);
        assert_eq!(buffer.next_line().unwrap_err().code, ErrorCode::LineTooLong);
    }

    fn drain(buffer: &mut LineBuffer) -> Result<Vec<Bytes>, WireError> {
        std::iter::from_fn(|| buffer.next_line().transpose()).collect()
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_lines(
            text in "[a\n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut whole = LineBuffer::starting_with(bytes);
            let expected = drain(&mut whole).unwrap();

            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut split = LineBuffer::default();
            let mut lines = Vec::new();
            let mut start = 0;
            for end in cuts.into_iter().chain([bytes.len()]) {
                split.push(&bytes[start..end]);
                lines.extend(drain(&mut split).unwrap());
                start = end;
            }
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(split.into_rest(), whole.into_rest());
        }

    }
}
