//! Where a head ends, searched for while it arrives.

use memchr::memchr_iter;

use super::flaw::Flaw;
use crate::limits::HEAD_BYTES;

/// Finds the empty line that ends a head, or the trailer section of a chunked body.
/// Remembers how far it has looked: a head in one-byte writes costs no more than any other.
#[derive(Debug, Clone, Default)]
pub struct HeadEnd {
    /// No line ends before this.
    searched: usize,
    /// Where the line begins that is being searched.
    line: usize,
}

impl HeadEnd {
    /// The head begins behind so many bytes.
    pub fn begin_at(&mut self, start: usize) {
        self.searched = self.searched.max(start);
        self.line = self.line.max(start);
    }

    /// Where the head ends, once it does. `bytes` are all bytes so far; longer ones give the
    /// same end again.
    ///
    /// # Errors
    /// [`Flaw::Framing`] for a bare LF or a folded line, [`Flaw::TooLarge`].
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Flaw> {
        let window = &bytes[..bytes.len().min(HEAD_BYTES)];
        let searched = self.searched;
        for lf in memchr_iter(b'\n', &window[searched..]).map(|offset| searched + offset) {
            if self.is_folded(window) || lf == self.line || window[lf - 1] != b'\r' {
                return Err(Flaw::Framing);
            }
            if lf - 1 == self.line {
                return Ok(Some(lf + 1));
            }
            (self.searched, self.line) = (lf + 1, lf + 1);
        }
        if self.is_folded(window) {
            return Err(Flaw::Framing);
        }
        self.searched = window.len();
        if window.len() == HEAD_BYTES { Err(Flaw::TooLarge) } else { Ok(None) }
    }

    /// Whether the current line goes on the one before: it begins with white space (RFC 9112
    /// §5.2).
    fn is_folded(&self, window: &[u8]) -> bool {
        matches!(window.get(self.line), Some(b' ' | b'\t'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line_however_it_comes() {
        let bytes = b"GET / HTTP/1.1\r\nHost: app\r\n\r\nGET";
        let mut end = HeadEnd::default();
        for cut in 0..bytes.len() - 3 {
            let found = end.find(&bytes[..cut]).unwrap();
            assert_eq!(found, None, "{cut}");
        }
        assert_eq!(end.find(bytes).unwrap(), Some(bytes.len() - 3));
        assert_eq!(HeadEnd::default().find(bytes).unwrap(), Some(bytes.len() - 3));
    }

    #[test]
    fn a_bare_line_end_and_a_folded_line_are_flaws() {
        for bytes in
            [&b"GET / HTTP/1.1\n"[..], b"\n", b"A: b\r\n c", b"A: b\r\n\tc\r\n", b"A\r\r\n\n"]
        {
            assert_eq!(HeadEnd::default().find(bytes), Err(Flaw::Framing), "{bytes:?}");
        }
        let long = vec![b'x'; HEAD_BYTES];
        assert_eq!(HeadEnd::default().find(&long), Err(Flaw::TooLarge));
    }

    proptest! {
        /// Whole, or one byte after the other: the same end, or the same flaw.
        #[test]
        fn a_head_ends_where_it_does_however_it_is_cut(
            text in prop::collection::vec("[a: ]{0,3}|\r\n|\r\n\r\n|\r|\n|\t", 0..12),
        ) {
            let bytes = text.concat().into_bytes();
            let mut end = HeadEnd::default();
            let bit_by_bit = (0..=bytes.len()).map(|cut| end.find(&bytes[..cut]));
            let first = bit_by_bit.into_iter().find(|found| *found != Ok(None));
            let whole = HeadEnd::default().find(&bytes);
            prop_assert_eq!(whole, first.unwrap_or(Ok(None)), "{:?}", text);
        }
    }
}
