//! Tells a backend who the client of a request is, in the head of the request.
//!
//! Sources: RFC 7239 for `Forwarded`; `X-Forwarded-For`, `-Proto` and `-Host`, and
//! `X-Request-Id` as proxies use them. What a client says under these names is believed
//! only if it came through a trusted proxy.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use crate::names::ProxyId;

/// What the backend is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The client.
    pub client: IpAddr,
    /// It came over TLS, which ended here.
    pub secure: bool,
    /// A trusted proxy speaks for it: what it says of clients before it is passed on.
    pub trusted: bool,
    /// The id of the stretch: that of its n-th request is `<id>.<n>`.
    pub id: ProxyId,
}

/// A field of a head that is about the client.
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
    /// Writes the head of the `nth` request, which is well formed, with what is told.
    pub fn reword(&self, nth: u64, head: &[u8], out: &mut BytesMut) {
        const GROWTH: usize = 320;
        out.reserve(head.len() + GROWTH);
        let mut lines = head.split_inclusive(|&byte| byte == b'\n').peekable();
        // The request line, and an empty one before it.
        out.put_slice(lines.next_if_eq(&&b"\r\n"[..]).unwrap_or_default());
        out.put_slice(lines.next().unwrap_or_default());
        let mut host: &[u8] = b"";
        let (mut clients, mut elements) = (Vec::new(), Vec::new());
        let (mut has_proto, mut has_host, mut has_id) = (false, false, false);
        for line in lines {
            if line == b"\r\n" {
                break;
            }
            let kept = match field(line) {
                None => true,
                Some(Field::Host) => {
                    host = value(line);
                    true
                }
                Some(_) if !self.trusted => false,
                Some(Field::For) => {
                    join(&mut clients, value(line));
                    false
                }
                Some(Field::Forwarded) => {
                    join(&mut elements, value(line));
                    false
                }
                Some(Field::Proto) => {
                    has_proto = true;
                    true
                }
                Some(Field::ForwardedHost) => {
                    has_host = true;
                    true
                }
                Some(Field::RequestId) => {
                    has_id = true;
                    true
                }
                Some(Field::Family) => true,
            };
            if kept {
                out.put_slice(line);
            }
        }
        let client = self.client.to_canonical();
        let proto = if self.secure { "https" } else { "http" };
        let address = match client {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        join(&mut clients, client.to_string().as_bytes());
        let host_text = host.escape_ascii();
        join(&mut elements, format!("for={address};host=\"{host_text}\";proto={proto}").as_bytes());
        put_field(out, b"X-Forwarded-For", &clients);
        if !has_proto {
            put_field(out, b"X-Forwarded-Proto", proto.as_bytes());
        }
        if !has_host {
            put_field(out, b"X-Forwarded-Host", host);
        }
        put_field(out, b"Forwarded", &elements);
        if !has_id {
            // A buffer that grows takes all.
            let _ = write!(out, "X-Request-Id: {}.{nth}\r\n", self.id);
        }
        out.put_slice(b"\r\n");
    }
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

fn put_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::read_request;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn reworded(client: &str, trusted: bool, head: &str) -> String {
        let id = ID.parse().unwrap();
        let told = Told { client: client.parse().unwrap(), secure: trusted, trusted, id };
        let mut out = BytesMut::new();
        told.reword(3, head.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
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
