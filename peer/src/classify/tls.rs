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

/// A host name: a [`Name`] without a port, and no IP literal (RFC 6066 §3). The
/// trailing dot that the standard leaves out is removed, as everywhere.
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

/// Builds hellos byte by byte, bad ones too.
#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// An extension: its type and its body.
    pub(crate) type Extension = (u16, Vec<u8>);

    pub(crate) fn vector(width: usize, body: &[u8]) -> Vec<u8> {
        [&body.len().to_be_bytes()[size_of::<usize>() - width..], body].concat()
    }

    pub(crate) fn server_names(names: &[(u8, &[u8])]) -> Extension {
        let entry = |(kind, name): &(u8, &[u8])| [&[*kind][..], &vector(2, name)].concat();
        (SERVER_NAME, vector(2, &names.iter().flat_map(entry).collect::<Vec<u8>>()))
    }

    pub(crate) fn sni(name: &str) -> Extension {
        server_names(&[(HOST_NAME, name.as_bytes())])
    }

    pub(crate) fn alpn(protocols: &[&[u8]]) -> Extension {
        let list: Vec<u8> = protocols.iter().flat_map(|protocol| vector(1, protocol)).collect();
        (ALPN, vector(2, &list))
    }

    /// The body of a ClientHello up to its extensions.
    pub(crate) fn body_start() -> Vec<u8> {
        let ciphers = [0x1a, 0x1a, 0x13, 0x01, 0x13, 0x02];
        [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &vector(2, &ciphers), &vector(1, &[0])]
            .concat()
    }

    pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &vector(3, body)].concat()
    }

    pub(crate) fn extensions(list: &[Extension]) -> Vec<u8> {
        list.iter()
            .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &vector(2, body)].concat())
            .collect()
    }

    /// A ClientHello message with these extensions.
    pub(crate) fn hello(list: &[Extension]) -> Vec<u8> {
        message(CLIENT_HELLO, &[body_start(), vector(2, &extensions(list))].concat())
    }

    /// A ClientHello message for `app` of exactly `length` bytes.
    pub(crate) fn hello_of(length: usize) -> Vec<u8> {
        let padding = length - hello(&[sni("app"), (21, vec![])]).len();
        hello(&[sni("app"), (21, vec![0; padding])])
    }

    /// The message in records of these sizes, in turn.
    pub(crate) fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut rest = message;
        let mut sizes = sizes.iter().cycle();
        let mut bytes = Vec::new();
        while !rest.is_empty() {
            let size = *sizes.next().unwrap();
            let (payload, after) = rest.split_at(size.min(rest.len()));
            bytes.extend([HANDSHAKE_RECORD, MAJOR_VERSION, 1]);
            bytes.extend(vector(2, payload));
            rest = after;
        }
        bytes
    }

    /// The hello in one record.
    pub(crate) fn one_record(list: &[Extension]) -> Vec<u8> {
        records(&hello(list), &[RECORD_PAYLOAD_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::classify;
    use super::fixture::*;
    use super::*;
    use crate::limits::HELLO_RECORD_OVERHEAD;

    fn tls(name: &str) -> Option<Verdict> {
        Some(Verdict::Tls { name: Name::requested(name).unwrap() })
    }

    const BAD_HELLO: Option<Verdict> = Some(Verdict::Refused(Refusal::BadClientHello));
    const BAD_SNI: Option<Verdict> = Some(Verdict::Refused(Refusal::BadSni));
    const NO_SNI: Option<Verdict> = Some(Verdict::Refused(Refusal::NoSni));

    fn with_body(body: &[u8]) -> Vec<u8> {
        records(&message(CLIENT_HELLO, body), &[RECORD_PAYLOAD_BYTES])
    }

    #[test]
    fn sni_routes_in_its_normal_form() {
        for (name, normal) in [
            ("app", "app"),
            ("A.Example.", "a.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.1", "127.1"),
        ] {
            assert_eq!(classify(&one_record(&[sni(name)])), tls(normal), "{name}");
        }
    }

    #[test]
    fn without_server_name_there_is_no_route() {
        assert_eq!(classify(&one_record(&[])), NO_SNI);
        assert_eq!(classify(&one_record(&[alpn(&[b"h2", b"ops-proxy/2"])])), NO_SNI);
        assert_eq!(classify(&with_body(&body_start())), NO_SNI);
    }

    #[test]
    fn a_server_name_that_is_no_one_name_is_refused() {
        for name in [
            "",
            ".",
            "10.0.0.1",
            "10.0.0.1.",
            "::1",
            "[::1]",
            "a:443",
            "a\0b",
            "a b",
            "_a",
            "a..b",
            "*.a",
            "a/b",
            "b\u{fc}cher",
            &"a".repeat(254),
        ] {
            assert_eq!(classify(&one_record(&[sni(name)])), BAD_SNI, "{name:?}");
        }
        assert_eq!(classify(&one_record(&[server_names(&[(0, b"\xff")])])), BAD_SNI);
        for list in [
            vec![server_names(&[])],
            vec![(SERVER_NAME, vec![])],
            vec![server_names(&[(HOST_NAME, b"a"), (HOST_NAME, b"a")])],
            vec![server_names(&[(HOST_NAME, b"a"), (1, b"b")])],
            vec![server_names(&[(1, b"b"), (HOST_NAME, b"a")])],
            vec![server_names(&[(1, b"b")])],
            vec![sni("a"), sni("a")],
            vec![sni("a"), alpn(&[b"h2"]), sni("b"), sni("c")],
        ] {
            assert_eq!(classify(&one_record(&list)), BAD_SNI, "{list:?}");
        }
    }

    #[test]
    fn peer_alpn_wins_over_any_server_name() {
        for list in [
            vec![alpn(&[PEER_ALPN])],
            vec![sni("app"), alpn(&[b"h2", PEER_ALPN, b"http/1.1"])],
            vec![alpn(&[PEER_ALPN]), sni("10.0.0.1")],
            vec![sni("a"), alpn(&[PEER_ALPN]), sni("b")],
        ] {
            assert_eq!(classify(&one_record(&list)), Some(Verdict::PeerTls), "{list:?}");
        }
        for protocol in ["ops-proxy/1 ", "OPS-PROXY/1", "ops-proxy/", "ops-proxy/11"] {
            let list = [sni("app"), alpn(&[protocol.as_bytes()])];
            assert_eq!(classify(&one_record(&list)), tls("app"), "{protocol}");
        }
    }

    #[test]
    fn grease_and_the_encrypted_hello_are_passed_over() {
        let grease = |high: u16| (high << 12 | 0x0a00 | high << 4 | 0x0a, vec![]);
        let mut list: Vec<Extension> = (0..16).map(grease).collect();
        list.push((0x7a7a, vec![0]));
        list.push((0xfe0d, vec![0xff; 300]));
        list.push(sni("outer.example"));
        list.push(alpn(&[b"\x8a\x8a", b"h2"]));
        list.push((0xfafa, b"anything".to_vec()));
        // Bodies that an eager parser of these extensions would refuse.
        for kind in [10, 11, 13, 35, 43, 45, 51, 65535] {
            list.push((kind, vec![0xff]));
        }
        assert_eq!(classify(&one_record(&list)), tls("outer.example"));
    }

    #[test]
    fn a_post_quantum_hello_over_many_records_routes() {
        let key_share = (51, vec![0x5a; 1_250]);
        let list = [key_share.clone(), sni("app"), key_share.clone(), key_share.clone(), key_share];
        let hello = hello(&list);
        for sizes in [&[16_384][..], &[1_000], &[517, 1, 3], &[1, 2, 3, 4_000]] {
            assert_eq!(classify(&records(&hello, sizes)), tls("app"), "{sizes:?}");
        }
    }

    #[test]
    fn a_hello_of_16384_bytes_passes_and_one_more_does_not() {
        let fits = records(&hello_of(HEAD_BYTES), &[HEAD_BYTES]);
        assert_eq!(classify(&fits), tls("app"));
        assert_eq!(classify(&fits[..fits.len() - 1]), None);
        let fits = records(&hello_of(HEAD_BYTES), &[1_000, 24]);
        assert_eq!(classify(&fits), tls("app"));

        let large = records(&hello_of(HEAD_BYTES + 1), &[1_000]);
        assert_eq!(classify(&large[..RECORD_HEADER_BYTES + 3]), None);
        assert_eq!(classify(&large[..RECORD_HEADER_BYTES + 4]), BAD_HELLO);
    }

    #[test]
    fn records_of_one_byte_pass_until_their_headers_are_too_many() {
        assert_eq!(classify(&records(&hello_of(MOST_BYTES / 6), &[1])), tls("app"));
        let over = records(&hello_of(MOST_BYTES / 6 + 1), &[1]);
        assert_eq!(classify(&over), BAD_HELLO);
        assert_eq!(classify(&over[..MOST_BYTES]), BAD_HELLO);
        assert_eq!(MOST_BYTES, HEAD_BYTES + HELLO_RECORD_OVERHEAD);
        // Whole records up to the last byte, and the message still not whole.
        let mut sizes = vec![1; 3_000];
        sizes.push(MOST_BYTES - 6 * 3_000 - RECORD_HEADER_BYTES);
        sizes.push(HEAD_BYTES);
        let exact = records(&hello_of(HEAD_BYTES), &sizes);
        assert_eq!(classify(&exact[..MOST_BYTES - 1]), None);
        assert_eq!(classify(&exact[..MOST_BYTES]), BAD_HELLO);
        assert_eq!(classify(&exact), BAD_HELLO);
    }

    #[test]
    fn a_record_that_carries_no_hello_is_refused_at_once() {
        let hello = hello(&[sni("app")]);
        let second = |header: &[u8]| [&records(&hello[..40], &[40]), header].concat();
        for bytes in [
            vec![22, 2],
            vec![22, 0x80],
            vec![22, b'H'],
            vec![22, 3, 1, 0, 0],
            vec![22, 3, 1, 0x40, 1],
            vec![22, 3, 1, 0xff, 0xff],
            vec![22, 3, 1, 0, 5, 2],
            vec![22, 3, 1, 0, 5, 0],
            vec![22, 3, 1, 0, 5, 1, 0, 0, 0],
            vec![22, 3, 1, 0, 5, 1, 1, 0, 0],
            second(&[20]),
            second(&[21]),
            second(&[23]),
            second(&[22, 2]),
            second(&[22, 3, 3, 0, 0]),
        ] {
            assert_eq!(classify(&bytes), BAD_HELLO, "{bytes:?}");
            assert_eq!(classify(&bytes[..bytes.len() - 1]), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_must_end_with_its_record() {
        let mut hello = hello(&[sni("app")]);
        assert_eq!(classify(&[records(&hello, &[50]), vec![0xff; 9]].concat()), tls("app"));
        hello.push(0);
        assert_eq!(classify(&records(&hello, &[RECORD_PAYLOAD_BYTES])), BAD_HELLO);
    }

    #[test]
    fn lying_lengths_are_refused() {
        let list = extensions(&[sni("app")]);
        let start = body_start();
        let end = |bytes: &[u8]| [&start[..], bytes].concat();
        let head = |bytes: &[u8]| [&[3, 3][..], &[7; 32], bytes].concat();
        let extension = |kind: u16, body: &[u8]| {
            end(&vector(2, &extensions(&[(kind, body.to_vec()), sni("app")])))
        };
        for body in [
            vec![],
            vec![3, 3],
            end(&[0]),
            end(&[0, 1]),
            end(&[&[0, list.len() as u8 + 1][..], &list].concat()),
            end(&[&[0, list.len() as u8 - 1][..], &list].concat()),
            end(&[vector(2, &list), vec![0]].concat()),
            end(&vector(2, &list[..list.len() - 1])),
            end(&vector(2, &[&list[..], &[0, 0, 0]].concat())),
            // Session id over 32 bytes; ciphers odd, none; no compression.
            head(&[vector(1, &[9; 33]), vector(2, &[19, 1]), vector(1, &[0])].concat()),
            head(&[vector(1, &[]), vector(2, &[19, 1, 19]), vector(1, &[0])].concat()),
            head(&[vector(1, &[]), vector(2, &[]), vector(1, &[0])].concat()),
            head(&[vector(1, &[]), vector(2, &[19, 1]), vector(1, &[])].concat()),
            head(&[vector(1, &[]), vec![0xff, 0xfe, 19, 1]].concat()),
            [&[2, 0][..], &start[2..], &vector(2, &list)].concat(),
            // server_name: list and name longer and shorter than what holds them.
            extension(SERVER_NAME, &[0]),
            extension(SERVER_NAME, &[0, 5, 0, 0, 1, b'a']),
            extension(SERVER_NAME, &[0, 3, 0, 0, 1, b'a']),
            extension(SERVER_NAME, &[0, 4, 0, 0, 2, b'a']),
            extension(SERVER_NAME, &[0, 4, 0, 0, 0, b'a']),
            extension(SERVER_NAME, &[0, 4, 0, 0, 1, b'a', 0]),
            // ALPN: the same, and empty ones.
            extension(ALPN, &[]),
            extension(ALPN, &[0, 0]),
            extension(ALPN, &[0, 1, 0]),
            extension(ALPN, &[0, 2, 2, b'a']),
            extension(ALPN, &[0, 3, 1, b'a']),
            extension(ALPN, &[0, 2, 1, b'a', 0]),
            extension(ALPN, &[0, 3, 1, b'a', 0]),
            end(&vector(2, &extensions(&[alpn(&[b"h2"]), sni("app"), alpn(&[b"h2"])]))),
        ] {
            assert_eq!(classify(&with_body(&body)), BAD_HELLO, "{:02x?}", &body);
        }
    }

    #[test]
    fn an_sslv2_hello_is_a_bad_hello() {
        for bytes in [&[0x80, 0x2e, 1, 3, 1][..], &[0x80, 0x2e, 1, 0, 2], &[0xff, 0, 1, 3]] {
            assert_eq!(classify(bytes), BAD_HELLO, "{bytes:?}");
        }
        for bytes in [&[0x80, 0x2e, 2][..], &[0x80, 0x2e, 1, 1], &[0xff, 0xff, 1, 0, 3]] {
            let unknown = Some(Verdict::Refused(Refusal::UnknownProtocol));
            assert_eq!(classify(bytes), unknown, "{bytes:?}");
        }
        assert_eq!(classify(&[0x80, 0x2e, 1, 0]), None);
    }

    fn rustls_hello(name: &'static str, protocols: &[&[u8]]) -> Vec<u8> {
        let roots = RootCertStore::empty();
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = name.try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_hellos_of_rustls_are_understood() {
        assert_eq!(classify(&rustls_hello("App.example", &[])), tls("app.example"));
        assert_eq!(classify(&rustls_hello("app", &[b"h2", b"http/1.1"])), tls("app"));
        assert_eq!(classify(&rustls_hello("10.0.0.1", &[])), NO_SNI);
        for name in ["app", "10.0.0.1"] {
            let hello = rustls_hello(name, &[PEER_ALPN]);
            assert_eq!(classify(&hello), Some(Verdict::PeerTls));
            assert_eq!(classify(&hello[..hello.len() - 1]), None);
        }
    }
}
