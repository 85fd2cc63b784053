//! Tells a backend who the client of a request is, in the head of the request.
//!
//! Sources: RFC 7239 for `Forwarded`; `X-Forwarded-For`, `-Proto` and `-Host`, and
//! `X-Request-Id` as proxies use them. What a client says under these names is believed
//! only if it came through a trusted proxy.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use memchr::memchr;

use crate::names::ProxyId;

/// The client of a connection, as its backends are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// It came over TLS, which ended here.
    pub secure: bool,
    /// A trusted proxy speaks for it: what it says of clients before it is passed on.
    pub trusted: bool,
}

/// What the backend of a stretch is told of its client.
#[derive(Debug, Clone)]
pub struct Told {
    client: Client,
    id: ProxyId,
    /// The fields that were added to the last head that said nothing of clients itself. Most
    /// heads of a stretch have the same Host, and are added the same.
    usual: Added,
}

/// What is added to a head with this Host, up to the number of the request.
#[derive(Debug, Clone, Default)]
struct Added {
    host: Vec<u8>,
    fields: Vec<u8>,
}

/// What a head says of clients itself.
#[derive(Debug, Default)]
struct Said {
    /// The members of `X-Forwarded-For`.
    clients: Vec<u8>,
    /// The elements of `Forwarded`.
    elements: Vec<u8>,
    has_proto: bool,
    has_host: bool,
    has_id: bool,
}

/// A field of a head that is about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Host,
    For,
    Proto,
    ForwardedHost,
    /// Another of the same family.
    Family,
    Forwarded,
    RequestId,
}

impl Told {
    /// What is told of `client` in the stretch of this id: that of its n-th request is
    /// `<id>.<n>`.
    pub fn new(client: Client, id: ProxyId) -> Self {
        Self { client, id, usual: Added::default() }
    }

    /// Writes the head of the `nth` request, which is well formed, with what is told.
    pub fn reword(&mut self, nth: u64, head: &[u8], out: &mut BytesMut) {
        const GROWTH: usize = 320;
        out.reserve(head.len() + GROWTH);
        let mut said = Said::default();
        let mut says = false;
        let mut host: &[u8] = b"";
        // Lines that are kept are written with those before them.
        let (mut from, mut at) = (0, request_line(head));
        let end = head.len() - b"\r\n".len();
        while at < end {
            let next = line_end(head, at);
            let line = &head[at..next];
            match field(line) {
                None => {}
                Some(Field::Host) => host = value(line),
                Some(field) => {
                    let is_kept = self.client.trusted && said.take(field, value(line));
                    says |= self.client.trusted;
                    if !is_kept {
                        out.put_slice(&head[from..at]);
                        from = next;
                    }
                }
            }
            at = next;
        }
        out.put_slice(&head[from..end]);
        if says {
            let fields = self.added(host, &mut said);
            out.put_slice(&fields);
        } else {
            if self.usual.host != host || self.usual.fields.is_empty() {
                self.usual = Added { host: host.to_vec(), fields: self.added(host, &mut said) };
            }
            out.put_slice(&self.usual.fields);
        }
        if !said.has_id {
            out.put_slice(itoa::Buffer::new().format(nth).as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"\r\n");
    }

    /// The fields that are added, up to the number of the request if it is given one.
    fn added(&self, host: &[u8], said: &mut Said) -> Vec<u8> {
        let mut fields = Vec::new();
        let client = self.client.ip.to_canonical();
        let proto = if self.client.secure { "https" } else { "http" };
        let address = match client {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        join(&mut said.clients, client.to_string().as_bytes());
        let host_text = host.escape_ascii();
        let element = format!("for={address};host=\"{host_text}\";proto={proto}");
        join(&mut said.elements, element.as_bytes());
        put_field(&mut fields, b"X-Forwarded-For", &said.clients);
        if !said.has_proto {
            put_field(&mut fields, b"X-Forwarded-Proto", proto.as_bytes());
        }
        if !said.has_host {
            put_field(&mut fields, b"X-Forwarded-Host", host);
        }
        put_field(&mut fields, b"Forwarded", &said.elements);
        if !said.has_id {
            fields.extend_from_slice(format!("X-Request-Id: {}.", self.id).as_bytes());
        }
        fields
    }
}

impl Said {
    /// Takes a field in. Whether its line stays as it is.
    fn take(&mut self, field: Field, value: &[u8]) -> bool {
        match field {
            Field::For => join(&mut self.clients, value),
            Field::Forwarded => join(&mut self.elements, value),
            Field::Proto => self.has_proto = true,
            Field::ForwardedHost => self.has_host = true,
            Field::RequestId => self.has_id = true,
            Field::Host | Field::Family => {}
        }
        !matches!(field, Field::For | Field::Forwarded)
    }
}

/// Where the request line ends, and an empty one before it.
fn request_line(head: &[u8]) -> usize {
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    line_end(head, start)
}

fn line_end(head: &[u8], start: usize) -> usize {
    memchr(b'\n', &head[start..]).map_or(head.len(), |lf| start + lf + 1)
}

/// What a line of a head is about, if that is the client. Underscores stand for hyphens,
/// as they do in what CGI makes of both.
fn field(line: &[u8]) -> Option<Field> {
    let first = line.first()?.to_ascii_lowercase();
    if !matches!(first, b'h' | b'x' | b'f') {
        return None;
    }
    let name = &line[..line.iter().position(|&byte| byte == b':')?];
    let is = |known: &str| {
        let same = |(a, b): (&u8, u8)| match *a {
            b'_' => b == b'-',
            a => a.to_ascii_lowercase() == b,
        };
        name.len() >= known.len() && name.iter().zip(known.bytes()).all(same)
    };
    let exact = |known: &str| name.len() == known.len() && is(known);
    match first {
        b'h' if exact("host") => Some(Field::Host),
        b'f' if exact("forwarded") => Some(Field::Forwarded),
        b'x' if exact("x-request-id") => Some(Field::RequestId),
        b'x' if exact("x-forwarded-for") => Some(Field::For),
        b'x' if exact("x-forwarded-proto") => Some(Field::Proto),
        b'x' if exact("x-forwarded-host") => Some(Field::ForwardedHost),
        b'x' if is("x-forwarded-") => Some(Field::Family),
        _ => None,
    }
}

fn value(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|&byte| byte == b':').map_or(line.len(), |colon| colon + 1);
    line[colon..].trim_ascii()
}

/// Adds to a list of values (RFC 9110 §5.6.1).
fn join(list: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(value);
}

fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::read_request;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn reworded(client: &str, trusted: bool, head: &str) -> String {
        let id = ID.parse().unwrap();
        let client = Client { ip: client.parse().unwrap(), secure: trusted, trusted };
        let mut told = Told::new(client, id);
        let mut out = BytesMut::new();
        told.reword(3, head.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// What was added before is not added to a head that differs in what it depends on.
    #[test]
    fn each_head_of_a_stretch_is_told_its_own() {
        let client = Client { ip: "192.0.2.7".parse().unwrap(), secure: false, trusted: true };
        let claim = "X-Forwarded-For: 10.0.0.1\r\n";
        let heads = [("app", ""), ("app", ""), ("App:80", ""), ("app", claim), ("app", "")];
        let mut told = Told::new(client, ID.parse().unwrap());
        for (nth, (host, claims)) in (1..).zip(heads) {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{claims}\r\n");
            let mut out = BytesMut::new();
            told.reword(nth, head.as_bytes(), &mut out);
            let mut alone = BytesMut::new();
            Told::new(client, ID.parse().unwrap()).reword(nth, head.as_bytes(), &mut alone);
            assert_eq!(out, alone, "{nth}");
        }
    }

    #[test]
    fn a_backend_is_told_who_the_client_is() {
        let head = "GET /a HTTP/1.1\r\nHost: App.example:8080\r\nAccept: */*\r\n\r\n";
        assert_eq!(
            reworded("192.0.2.7", false, head),
            format!(
                "GET /a HTTP/1.1\r\nHost: App.example:8080\r\nAccept: */*\r\n\
                 X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host: App.example:8080\r\n\
                 Forwarded: for=192.0.2.7;host=\"App.example:8080\";proto=http\r\n\
                 X-Request-Id: {ID}.3\r\n\r\n"
            )
        );
        let v6 = reworded("2001:db8::1", false, head);
        assert!(v6.contains("X-Forwarded-For: 2001:db8::1\r\n"), "{v6}");
        assert!(v6.contains("Forwarded: for=\"[2001:db8::1]\";host"), "{v6}");
        assert!(
            reworded("::ffff:192.0.2.7", false, head).contains("X-Forwarded-For: 192.0.2.7\r\n")
        );
    }

    const CLAIMS: &str = "\r\nPOST / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\n\
        x-forwarded-for:10.0.0.2\r\nHost: app\r\nX_Forwarded_Proto: gopher\r\n\
        X-Forwarded-Host: other\r\nX-Forwarded-Port: 1\r\nForwarded: for=10.0.0.1\r\n\
        X-Request-ID: mine\r\nX-Other: kept\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn what_a_stranger_claims_is_removed() {
        let head = reworded("192.0.2.7", false, CLAIMS);
        for claim in ["10.0.0", "gopher", "other", "Port", "mine"] {
            assert!(!head.contains(claim), "{claim}: {head}");
        }
        assert!(head.starts_with("\r\nPOST / HTTP/1.1\r\nHost: app\r\nX-Other: kept\r\nContent"));
        assert_eq!(read_request(&head.as_bytes()[2..]), read_request(&CLAIMS.as_bytes()[2..]));
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_added_to() {
        let head = reworded("192.0.2.7", true, CLAIMS);
        for said in [
            "\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n",
            "\r\nX_Forwarded_Proto: gopher\r\n",
            "\r\nX-Forwarded-Host: other\r\n",
            "\r\nForwarded: for=10.0.0.1, for=192.0.2.7;host=\"app\";proto=https\r\n",
            "\r\nX-Request-ID: mine\r\n",
        ] {
            assert!(head.contains(said), "{said}: {head}");
        }
        assert_eq!(
            head.matches("X-Request-I").count() + head.matches("X-Forwarded-Host").count(),
            2
        );
    }
}
