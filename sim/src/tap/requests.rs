//! One direction of an idle DATA connection: a line, then the bytes of a request in
//! frames until its end, then the next line.

use ops_proxy::wire::{Line, LineBuffer};

/// What is being said in this direction.
#[derive(Debug)]
pub(super) enum Requests {
    /// The next line, of which this is there.
    Line(LineBuffer),
    /// Between frames, or within the length of one.
    Header(Option<u8>),
    /// So many bytes are left of a frame.
    Frame(u16),
    /// What follows is the request's, without frames, until the connection ends.
    Raw,
    /// Nothing more that could be told apart.
    Done,
}

impl Default for Requests {
    fn default() -> Self {
        Self::Line(LineBuffer::default())
    }
}

impl Requests {
    /// Whether nothing was said since the last request.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Line(buffer) if buffer.is_empty())
    }

    /// Whether the last request has left the frames.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// Takes in what was written; returns the lines that it ended.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) -> Vec<String> {
        const END: u16 = 0;
        const RAW: u16 = u16::MAX;
        let mut lines = Vec::new();
        while let Some((&first, rest)) = bytes.split_first() {
            match self {
                Self::Line(buffer) => {
                    buffer.push(bytes);
                    let line = match buffer.next_line() {
                        Ok(Some(line)) => line,
                        Ok(None) => return lines,
                        Err(_) => {
                            *self = Self::Done;
                            return lines;
                        }
                    };
                    let left = std::mem::take(buffer).into_rest();
                    *self = match Line::parse(&line) {
                        Ok(Line::Forward { .. } | Line::Data { .. }) => Self::Header(None),
                        // It answers whom the connection is for.
                        Ok(Line::Welcome(_)) => Self::default(),
                        _ => Self::Done,
                    };
                    lines.push(String::from_utf8_lossy(&line).into_owned());
                    bytes = &bytes[bytes.len() - left.len()..];
                }
                Self::Header(None) => {
                    *self = Self::Header(Some(first));
                    bytes = rest;
                }
                Self::Header(Some(high)) => {
                    *self = match u16::from_be_bytes([*high, first]) {
                        END => Self::default(),
                        RAW => Self::Raw,
                        length => Self::Frame(length),
                    };
                    bytes = rest;
                }
                Self::Frame(left) => {
                    let count = usize::from(*left).min(bytes.len());
                    *self = match *left - count as u16 {
                        0 => Self::Header(None),
                        left => Self::Frame(left),
                    };
                    bytes = &bytes[count..];
                }
                Self::Raw | Self::Done => return lines,
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn lines_are_heard_between_requests_wherever_they_are_cut() {
        let first = format!("DATA:{ID}");
        let second = format!("FAIL:{ID}:overloaded");
        let said = [first.as_bytes(), b"\n\0\x08DATA:abc\0\x01\n\0\0", second.as_bytes(), b"\nx"];
        let said = said.concat();
        for cut in 0..said.len() {
            let mut heard = Requests::default();
            let mut lines = heard.wrote(&said[..cut]);
            lines.extend(heard.wrote(&said[cut..]));
            assert_eq!(lines, [first.clone(), second.clone()], "cut at {cut}");
            assert!(!heard.is_raw());
        }
    }

    #[test]
    fn no_line_is_heard_behind_the_frames() {
        let said =
            [format!("DATA:{ID}").as_bytes(), b"\n\0\x01a\xff\xffb", b"\0\0DATA:x\n"].concat();
        for cut in 0..said.len() {
            let mut heard = Requests::default();
            let mut lines = heard.wrote(&said[..cut]);
            lines.extend(heard.wrote(&said[cut..]));
            assert_eq!(lines, [format!("DATA:{ID}")], "cut at {cut}");
            assert!(heard.is_raw() && !heard.is_idle());
        }
    }
}
