//! The ClientHello (RFC 8446 §4.1.2), as far as routing needs it.
//!
//! Records (RFC 8446 §5.1) are walked as they arrive; once they hold the whole
//! message it is parsed, once. `tls-parser` reads the message itself. Its
//! extension parsers stop silently at a lying length and know GREASE, ECH and
//! the ALPN list only in part, so extensions are walked here: server_name and
//! ALPN are read strictly, all others are passed over unread.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use tls_parser::parse_tls_handshake_client_hello;

use super::{MOST_BYTES, Opening, PEER_ALPN, Refusal, Verdict};
use crate::limits::HEAD_BYTES;
use crate::names::Name;

/// Content type of a record that carries handshake messages.
pub(super) const HANDSHAKE_RECORD: u8 = 22;

const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;

/// Most payload of one record (RFC 8446 §5.1).
const RECORD_PAYLOAD_BYTES: usize = 1 << 14;

/// The same major version in every record and hello since SSLv3.
const MAJOR_VERSION: u8 = 3;

const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

/// An SSLv2 CLIENT-HELLO with its two-byte header (RFC 5246 Appendix E.2), or
/// nothing known.
pub(super) fn sslv2_opening(bytes: &[u8]) -> Option<Opening> {
    let refused = |refusal| Some(Opening::Refused(refusal));
    match bytes {
        [] | [_] | [_, _] | [_, _, CLIENT_HELLO] => None,
        [_, _, CLIENT_HELLO, MAJOR_VERSION, ..] => refused(Refusal::BadClientHello),
        [_, _, CLIENT_HELLO, 0] => None,
        [_, _, CLIENT_HELLO, 0, 2, ..] => refused(Refusal::BadClientHello),
        _ => refused(Refusal::UnknownProtocol),
    }
}

/// A ClientHello on its way in.
#[derive(Debug, Clone, Default)]
pub(super) struct Hello {
    /// So many bytes of the connection are walked.
    walked: usize,
    /// Payload of the current record that is still to come.
    record_left: usize,
    /// Bytes of the message walked.
    message: usize,
    /// The first of them: type and length.
    header: [u8; MESSAGE_HEADER_BYTES],
}

/// The bytes are no well-formed ClientHello.
struct Malformed;

impl From<Malformed> for Refusal {
    fn from(Malformed: Malformed) -> Self {
        Self::BadClientHello
    }
}

impl Hello {
    /// The verdict, once the message is whole or known to be bad.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
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

    /// Whether the message has all come. It ends with its record: a ClientHello
    /// is alone in its flight, and keys may change behind it (RFC 8446 §5.1).
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

/// The payloads of whole records.
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

/// The payload length in the record header that `rest` begins with; `None` when
/// the header is not whole, and what there is of it is good.
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

/// What the server_name extensions of a hello hold.
#[derive(Debug, Clone, Copy)]
enum ServerName<'a> {
    Absent,
    One(&'a [u8]),
    /// None although the extension is there, several, or of another type.
    Other,
}

/// Reads one whole ClientHello message, its header included.
fn read(message: &[u8]) -> Result<Verdict, Refusal> {
    let body = message.get(MESSAGE_HEADER_BYTES..).ok_or(Malformed)?;
    let (rest, hello) = parse_tls_handshake_client_hello(body).map_err(|_| Malformed)?;
    let major = hello.version.0 >> 8;
    if !rest.is_empty()
        || major != u16::from(MAJOR_VERSION)
        || hello.ciphers.is_empty()
        || hello.comp.is_empty()
    {
        return Err(Refusal::BadClientHello);
    }
    let (server_name, is_peer) = read_extensions(hello.ext.unwrap_or_default())?;
    if is_peer {
        return Ok(Verdict::PeerTls);
    }
    match server_name {
        ServerName::Absent => Err(Refusal::NoSni),
        ServerName::Other => Err(Refusal::BadSni),
        ServerName::One(text) => Ok(Verdict::Tls { name: host_name(text)? }),
    }
}

/// The server name, and whether ALPN holds [`PEER_ALPN`].
fn read_extensions(mut extensions: &[u8]) -> Result<(ServerName<'_>, bool), Malformed> {
    let mut server_name = ServerName::Absent;
    let mut is_peer = None;
    while !extensions.is_empty() {
        let kind = take_number(&mut extensions, 2)?;
        let body = take_vector(&mut extensions, 2)?;
        if kind == usize::from(SERVER_NAME) {
            let one = read_server_name(body)?;
            server_name = match server_name {
                ServerName::Absent => one,
                _ => ServerName::Other,
            };
        } else if kind == usize::from(ALPN) {
            let found = holds_peer_alpn(body)?;
            if is_peer.replace(found).is_some() {
                return Err(Malformed);
            }
        }
    }
    Ok((server_name, is_peer.unwrap_or(false)))
}

/// `ServerNameList` of RFC 6066 §3.
fn read_server_name(mut body: &[u8]) -> Result<ServerName<'_>, Malformed> {
    if body.is_empty() {
        return Ok(ServerName::Other);
    }
    let mut list = take_last_vector(&mut body, 2)?;
    let mut found = None;
    let mut count = 0;
    while !list.is_empty() {
        let kind = take_number(&mut list, 1)?;
        let name = take_vector(&mut list, 2)?;
        found = (kind == usize::from(HOST_NAME)).then_some(name);
        count += 1;
    }
    Ok(found.filter(|_| count == 1).map_or(ServerName::Other, ServerName::One))
}

/// A host name: a [`Name`] without a port, and no IP literal (RFC 6066 §3).
fn host_name(text: &[u8]) -> Result<Name, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::BadSni)?;
    if text.contains(':') {
        return Err(Refusal::BadSni);
    }
    let name = Name::requested(text).map_err(|_| Refusal::BadSni)?;
    match name.as_str().parse::<Ipv4Addr>() {
        Ok(_) => Err(Refusal::BadSni),
        Err(_) => Ok(name),
    }
}

/// `ProtocolNameList` of RFC 7301 §3.1.
fn holds_peer_alpn(mut body: &[u8]) -> Result<bool, Malformed> {
    let mut list = take_last_vector(&mut body, 2)?;
    if list.is_empty() {
        return Err(Malformed);
    }
    let mut found = false;
    while !list.is_empty() {
        let protocol = take_vector(&mut list, 1)?;
        if protocol.is_empty() {
            return Err(Malformed);
        }
        found |= protocol == PEER_ALPN;
    }
    Ok(found)
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = from.split_at_checked(count).ok_or(Malformed)?;
    *from = rest;
    Ok(taken)
}

/// A big-endian number of `width` bytes.
fn take_number(from: &mut &[u8], width: usize) -> Result<usize, Malformed> {
    let digits = take(from, width)?;
    Ok(digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)))
}

/// A vector behind its length of `width` bytes (RFC 8446 §3.4).
fn take_vector<'a>(from: &mut &'a [u8], width: usize) -> Result<&'a [u8], Malformed> {
    let length = take_number(from, width)?;
    take(from, length)
}

/// A vector with nothing behind it.
fn take_last_vector<'a>(from: &mut &'a [u8], width: usize) -> Result<&'a [u8], Malformed> {
    let vector = take_vector(from, width)?;
    if from.is_empty() { Ok(vector) } else { Err(Malformed) }
}
