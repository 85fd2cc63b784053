//! How long a body is, found while it passes (RFC 9112 §6, §7.1).

use httparse::{Header, Status};

use super::flaw::Flaw;
use super::head_end::HeadEnd;
use crate::limits::{CHUNK_LINE_BYTES, HTTP_FIELDS};

/// A body, up to where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Bytes that belong to it and may be passed without being read.
    left: u64,
    then: Then,
}

/// What follows the bytes that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    /// The line that begins a chunk; all but the first come behind a CRLF.
    Chunk {
        first: bool,
    },
    Trailers,
    /// Nothing does: only the end of the connection ends it.
    Never,
}

/// What can be said of a body from the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// So many more bytes may be passed, whether they have come yet or not.
    Bytes(u64),
    /// Nothing, without more of them.
    More,
    /// It has ended; they belong to the next message.
    End,
}

impl Body {
    /// A message that ends with its head.
    pub(super) fn none() -> Self {
        Self { left: 0, then: Then::End }
    }

    /// As many bytes as Content-Length says.
    pub(super) fn of_length(length: u64) -> Self {
        Self { left: length, then: Then::End }
    }

    /// Chunks, up to the one that is empty, and its trailers.
    pub(super) fn chunked() -> Self {
        Self { left: 0, then: Then::Chunk { first: true } }
    }

    /// All bytes up to the end of the connection.
    pub(super) fn until_close() -> Self {
        Self { left: 0, then: Then::Never }
    }

    /// Whether nothing but the end of the connection ends it.
    pub fn is_until_close(&self) -> bool {
        self.then == Then::Never
    }

    /// Whether it has ended, or there is none.
    pub fn is_over(&self) -> bool {
        self.left == 0 && self.then == Then::End
    }

    /// How many more bytes may be passed without being read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// What `bytes`, the next ones of the connection, are to it. To be asked again once
    /// bytes [have passed](Self::passed).
    ///
    /// # Errors
    /// [`Flaw`] in a chunk or a trailer.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Part, Flaw> {
        if self.left > 0 {
            return Ok(Part::Bytes(self.left));
        }
        match self.then {
            Then::End => return Ok(Part::End),
            Then::Never => return Ok(Part::Bytes(u64::MAX)),
            Then::Chunk { first } => {
                let Some((line, size)) = chunk_line(bytes, first)? else { return Ok(Part::More) };
                self.left = line as u64 + size;
                self.then = if size == 0 { Then::Trailers } else { Then::Chunk { first: false } };
            }
            Then::Trailers => {
                let Some(end) = HeadEnd::default().find(bytes)? else { return Ok(Part::More) };
                check_trailers(&bytes[..end])?;
                self.left = end as u64;
                self.then = Then::End;
            }
        }
        Ok(Part::Bytes(self.left))
    }

    /// Where it ends, if that is within `bytes`, which follow the head.
    pub fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match self.next(&bytes[at..]) {
                Ok(Part::End) => return Some(at),
                Ok(Part::Bytes(count)) if count <= (bytes.len() - at) as u64 => {
                    at += count as usize;
                    self.passed(count);
                }
                Ok(Part::Bytes(_) | Part::More) | Err(_) => return None,
            }
        }
    }

    /// So many bytes have been passed on: no more than was said.
    pub fn passed(&mut self, count: u64) {
        if self.then != Then::Never {
            self.left -= count;
        }
    }
}

/// Length of the line that begins a chunk, with the CRLF before it, and the chunk's size.
fn chunk_line(bytes: &[u8], first: bool) -> Result<Option<(usize, u64)>, Flaw> {
    let start = if first { 0 } else { 2 };
    if !first && !b"\r\n".starts_with(&bytes[..bytes.len().min(2)]) {
        return Err(Flaw::Framing);
    }
    let Some(line) = bytes.get(start..) else { return Ok(None) };
    let window = &line[..line.len().min(CHUNK_LINE_BYTES)];
    let Some(lf) = window.iter().position(|&byte| byte == b'\n') else {
        // What cannot become a line is refused at once.
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let ends_well = matches!(window.get(digits), None | Some(b'\r' | b';')) && digits <= 15;
        let has_begun = digits > 0 || window.is_empty();
        return match window.len() < CHUNK_LINE_BYTES && ends_well && has_begun {
            true => Ok(None),
            false => Err(Flaw::Framing),
        };
    };
    let line = window[..lf].strip_suffix(b"\r").ok_or(Flaw::Framing)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    // White space before an extension, or a CR within it, is read in more than one way.
    let is_plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !(extension.is_empty() || extension[0] == b';') || !extension.iter().all(is_plain) {
        return Err(Flaw::Framing);
    }
    // Fifteen digits are more than there are bytes to count.
    if !(1..=15).contains(&digits) {
        return Err(Flaw::Framing);
    }
    let size = std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    Ok(Some((start + lf + 1, size.ok_or(Flaw::Framing)?)))
}

/// Trailers are fields, and none of those that frame or route a message (RFC 9110 §6.5.1).
fn check_trailers(section: &[u8]) -> Result<(), Flaw> {
    let mut storage = [httparse::EMPTY_HEADER; HTTP_FIELDS];
    let Ok(Status::Complete((length, fields))) = httparse::parse_headers(section, &mut storage)
    else {
        return Err(Flaw::Framing);
    };
    let is_framing = |field: &Header<'_>| {
        ["content-length", "transfer-encoding", "host"]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
    };
    if length != section.len() || fields.iter().any(is_framing) {
        return Err(Flaw::Framing);
    }
    Ok(())
}
