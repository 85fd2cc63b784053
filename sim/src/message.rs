//! HTTP messages as the two ends of a request write and read them. It is a reader of its
//! own: the peer's must agree with it.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::payload::Pattern;

/// The field in which a backend says which it is.
pub const BACKEND: &str = "x-backend";

/// The field in which a backend says [what it read](read).
pub const READ: &str = "x-read";

/// The field in which a backend says what it [was told](Head::told) of its client.
pub const TOLD: &str = "x-told";

/// Stands between two fields that it was told.
pub const BETWEEN_TOLD: &str = " | ";

/// Stands in all that no backend may ever see.
pub const HIDDEN: &str = "hidden-behind-the-last";

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A field of requests of HTTP/2 that no backend may ever see.
pub const NEVER: &str = "x-never";

/// The trailer of HTTP/2.
pub const SUM: &str = "x-sum";

/// Frames on a stream that was reset are ignored for so long, in real time: for longer than any
/// run takes.
pub const H2_FORGETS_AFTER: Duration = Duration::from_secs(3600);

/// Longest head of a message that is read, in bytes.
pub const HEAD_BYTES: usize = 32 * 1024;

/// What a backend read of a request: all of it, in one line.
pub fn read(method: &str, target: &str, host: &str, body: &[u8], trailers: &str) -> String {
    let trailers = trailers.replace("\r\n", "|");
    format!("{method} {target} {host} {} {} {trailers}", body.len(), digest(body))
        .trim_end()
        .to_owned()
}

/// The pattern's first bytes.
pub fn body_of(pattern: Pattern, length: u64) -> Vec<u8> {
    let mut body = vec![0; usize::try_from(length).expect("a body fits into memory")];
    pattern.fill(0, &mut body);
    body
}

/// 64 bits of FNV-1a, in hex.
pub fn digest(bytes: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// The trailer section that goes with a body in chunks.
pub fn trailers_of(body: &[u8]) -> String {
    format!("X-Sum: {}\r\n", digest(body))
}

/// The trailers that go with a body in HTTP/2.
pub fn sum_of(body: &[u8]) -> HeaderMap {
    let sum = HeaderValue::from_str(&digest(body)).expect("it is hex");
    HeaderMap::from_iter([(http::HeaderName::from_static(SUM), sum)])
}

/// Trailers of HTTP/2 as those of HTTP/1 are written.
pub fn field_lines(fields: &HeaderMap) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| format!("{name}: {}\r\n", text(value))).collect()
}

/// Bytes of the piece of a body with this number, and what its pattern says beside.
fn piece(pattern: Pattern, number: u64) -> (usize, u8) {
    let mut byte = [0];
    pattern.fill(number, &mut byte);
    // Some are large enough to be carried as bulk.
    let size = if byte[0] >= 240 { 40_000 } else { 1 + usize::from(byte[0]) * 8 };
    (size, byte[0])
}

/// A body in pieces. How it is cut follows from its pattern.
pub fn in_pieces(pattern: Pattern, body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    let cut = move |number| {
        let (now, after) = rest.split_at(piece(pattern, number).0.min(rest.len()));
        rest = after;
        (!now.is_empty()).then_some(now)
    };
    (0..).map_while(cut)
}

/// A body in chunks, up to the trailer section. How it is cut follows from its pattern.
pub fn chunked(pattern: Pattern, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    for at in 0.. {
        let (size, byte) = piece(pattern, at);
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        let extension = if byte % 3 == 0 { ";part=\"one; two\"" } else { "" };
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        if chunk.is_empty() {
            return out;
        }
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out
}

/// The first line and the fields of a head.
#[derive(Debug, Clone)]
pub struct Head {
    /// The first line.
    pub line: String,
    /// Its length in bytes, with the empty line.
    pub bytes: usize,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The head that `bytes` begin with, once it is whole.
    ///
    /// # Errors
    /// It is none, or too long.
    pub fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES { Err(malformed()) } else { Ok(None) };
        };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let fields: Option<Vec<_>> = lines.map(field).collect();
        Ok(Some(Self { line, bytes: end + 4, fields: fields.ok_or_else(malformed)? }))
    }

    /// The value of a field; its name is in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// What it says of the client, in the order of its fields. Who reads them by way of CGI sees
    /// no difference between an underscore and a hyphen.
    pub fn told(&self) -> String {
        let is_told = |name: &str| {
            let name = name.replace('_', "-");
            name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-request-id"
        };
        let told = self.fields.iter().filter(|(name, _)| is_told(name));
        let told: Vec<String> = told.map(|(name, value)| format!("{name}: {value}")).collect();
        told.join(BETWEEN_TOLD)
    }

    /// Its Content-Length.
    pub fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    /// Whether its body comes in chunks.
    pub fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| coding == "chunked")
    }

    /// Whether it says that the connection ends.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|option| option == "close")
    }
}

/// A body in chunks, as far as it was read.
#[derive(Debug, Default)]
pub struct Chunks {
    /// What the chunks hold.
    pub body: Vec<u8>,
    /// The trailer section, without the empty line.
    pub trailers: String,
    line: Vec<u8>,
    at: At,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailers,
    Over,
}

impl Chunks {
    /// Whether all of it was read.
    pub fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Takes what belongs to it; returns how much that is.
    ///
    /// # Errors
    /// It is no body in chunks.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() && self.at != At::Over {
            if let At::Data(left) = &mut self.at {
                let now = (bytes.len() - at).min(*left);
                self.body.extend_from_slice(&bytes[at..at + now]);
                *left -= now;
                at += now;
                if *left == 0 {
                    self.at = At::DataEnd;
                }
                continue;
            }
            self.line.push(bytes[at]);
            at += 1;
            if self.line.ends_with(b"\r\n") {
                let line = std::mem::take(&mut self.line);
                self.line(&String::from_utf8_lossy(&line[..line.len() - 2]))?;
            }
        }
        Ok(at)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.at = match self.at {
            At::Size => {
                let size = line.split(';').next().unwrap_or_default();
                match usize::from_str_radix(size, 16).map_err(|_| malformed())? {
                    0 => At::Trailers,
                    size => At::Data(size),
                }
            }
            At::DataEnd if line.is_empty() => At::Size,
            At::Trailers if line.is_empty() => At::Over,
            At::Trailers => {
                let _ = write!(self.trailers, "{line}\r\n");
                At::Trailers
            }
            _ => return Err(malformed()),
        };
        Ok(())
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_read_as_it_was_written_wherever_it_is_cut() {
        let pattern = Pattern(5);
        for length in [0, 1, 3_000] {
            let body = body_of(pattern, length);
            let trailers = trailers_of(&body);
            let wire = [&chunked(pattern, &body)[..], trailers.as_bytes(), b"\r\nnext"].concat();
            for cut in [0, 1, 2, wire.len() / 2, wire.len() - 5] {
                let mut chunks = Chunks::default();
                let mut taken = chunks.take(&wire[..cut]).unwrap();
                taken += chunks.take(&wire[taken..]).unwrap();
                assert!(chunks.is_over());
                assert_eq!((chunks.body, chunks.trailers), (body.clone(), trailers.clone()));
                assert_eq!(&wire[taken..], b"next", "cut at {cut}");
            }
        }
    }
}
