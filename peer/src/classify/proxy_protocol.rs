//! The PROXY protocol header, versions 1 and 2, in front of a connection.
//!
//! Source: HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2. Whether a
//! header is required or refused depends on the source and is the listener's
//! decision; nothing is guessed here. `ppp` parses the headers. This file adds the
//! bounds and the framing, and corrects `ppp` where it is too lax (`+80` as a port) or
//! too strict (what follows UNKNOWN and LOCAL must be ignored).

use std::net::SocketAddr;

use ppp::{v1, v2};

use crate::limits::HEAD_BYTES;

/// Longest version 1 header, CRLF included (section 2.1).
const V1_BYTES: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";

const V2_SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;
/// Signature, version and command, family, length (section 2.2).
const V2_FIXED_BYTES: usize = 16;

/// How much of a header has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is incomplete; it will be complete within [`HEAD_BYTES`].
    More,
    /// A complete header.
    Header {
        /// The connection that the proxy speaks for. `None` for LOCAL, UNKNOWN and
        /// anything but a TCP address: the real endpoints apply.
        ends: Option<Ends>,
        /// Length of the header; the connection's own bytes begin here.
        consumed: usize,
    },
    /// These bytes do not begin a valid header.
    Invalid,
}

/// A connection that a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// The address that it connected to.
    pub dest: SocketAddr,
}

/// Whether `bytes`, the first of a connection, begin like a header: the text
/// `PROXY ` or the signature of version 2. `None` when more bytes are needed. Call this
/// before [`classify`](super::classify), which may decide sooner that the signature is
/// not HTTP.
pub fn looks_like_header(bytes: &[u8]) -> Option<bool> {
    let begins = |prefix: &[u8]| bytes.starts_with(prefix);
    let may_begin = |prefix: &[u8]| prefix.starts_with(bytes);
    if begins(V1_PREFIX) || begins(V2_SIGNATURE) {
        Some(true)
    } else if may_begin(V1_PREFIX) || may_begin(V2_SIGNATURE) {
        None
    } else {
        Some(false)
    }
}

/// Parses the header that `bytes` must begin with; bytes after it are ignored.
pub fn parse(bytes: &[u8]) -> Progress {
    match looks_like_header(bytes) {
        None => Progress::More,
        Some(false) => Progress::Invalid,
        Some(true) if bytes.starts_with(V1_PREFIX) => parse_v1(bytes),
        Some(true) => parse_v2(bytes),
    }
}

fn parse_v1(bytes: &[u8]) -> Progress {
    let window = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(control) = window.iter().position(|&byte| byte == b'\r' || byte == b'\n') else {
        return if window.len() == V1_BYTES { Progress::Invalid } else { Progress::More };
    };
    match window[control..] {
        [b'\r', b'\n', ..] => read_v1(&window[..control + 2]),
        [b'\r'] if window.len() < V1_BYTES => Progress::More,
        _ => Progress::Invalid,
    }
}

fn read_v1(line: &[u8]) -> Progress {
    let consumed = line.len();
    if line.starts_with(b"PROXY UNKNOWN ") || line == b"PROXY UNKNOWN\r\n" {
        // Whatever follows the word is to be ignored.
        return Progress::Header { ends: None, consumed };
    }
    let Ok(header) = v1::Header::try_from(line) else { return Progress::Invalid };
    let ends = match header.addresses {
        v1::Addresses::Unknown => return Progress::Invalid,
        _ if line.contains(&b'+') => return Progress::Invalid,
        v1::Addresses::Tcp4(ip) => Ends {
            source: (ip.source_address, ip.source_port).into(),
            dest: (ip.destination_address, ip.destination_port).into(),
        },
        v1::Addresses::Tcp6(ip) => Ends {
            source: (ip.source_address, ip.source_port).into(),
            dest: (ip.destination_address, ip.destination_port).into(),
        },
    };
    Progress::Header { ends: Some(ends), consumed }
}

fn parse_v2(bytes: &[u8]) -> Progress {
    let version_command = bytes.get(V2_SIGNATURE.len()).copied();
    if !matches!(version_command, None | Some(0x20 | 0x21)) {
        return Progress::Invalid;
    }
    let Some([.., high, low]) = bytes.get(..V2_FIXED_BYTES) else { return Progress::More };
    let consumed = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
    if consumed > HEAD_BYTES {
        return Progress::Invalid;
    }
    let Some(header) = bytes.get(..consumed) else { return Progress::More };
    if version_command == Some(0x20) {
        // LOCAL: family and addresses are to be ignored, whatever they are.
        return Progress::Header { ends: None, consumed };
    }
    read_v2(header)
}

fn read_v2(header: &[u8]) -> Progress {
    let consumed = header.len();
    let Ok(header) = v2::Header::try_from(header) else { return Progress::Invalid };
    if header.tlvs().any(|tlv| tlv.is_err()) {
        return Progress::Invalid;
    }
    let ends = match header.addresses {
        _ if header.protocol != v2::Protocol::Stream => None,
        v2::Addresses::IPv4(ip) => Some(Ends {
            source: (ip.source_address, ip.source_port).into(),
            dest: (ip.destination_address, ip.destination_port).into(),
        }),
        v2::Addresses::IPv6(ip) => Some(Ends {
            source: (ip.source_address, ip.source_port).into(),
            dest: (ip.destination_address, ip.destination_port).into(),
        }),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    };
    Progress::Header { ends, consumed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    const PROXY: u8 = 0x21;
    const LOCAL: u8 = 0x20;
    const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0, 80];

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[version_command, family], &length, body].concat()
    }

    fn whole(bytes: &[u8], ends: Option<(&str, &str)>) -> Progress {
        let read = |text: &str| text.parse().unwrap();
        let ends = ends.map(|(source, dest)| Ends { source: read(source), dest: read(dest) });
        Progress::Header { ends, consumed: bytes.len() }
    }

    #[test]
    fn version_1_gives_the_client() {
        for (header, ends) in [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 8080 80\r\n",
                Some(("192.0.2.7:8080", "198.51.100.1:80")),
            ),
            ("PROXY TCP6 2001:db8::7 ::1 65535 0\r\n", Some(("[2001:db8::7]:65535", "[::1]:0"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN 1.2.3.4 +what ever 1 2 3 4 5\r\n", None),
        ] {
            let header = header.as_bytes();
            assert_eq!(parse(header), whole(header, ends), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn version_2_gives_the_client() {
        let ipv6: Vec<u8> = [&[0x20; 16][..], &[0; 16], &[0x1f, 0x90, 0, 80]].concat();
        let tlv = [&IPV4[..], &[4, 0, 1, 9, 0xea, 0, 0]].concat();
        let ends = Some(("192.0.2.7:8080", "198.51.100.1:80"));
        let of_ipv6 = ("[2020:2020:2020:2020:2020:2020:2020:2020]:8080", "[::]:80");
        for (header, ends) in [
            (v2(PROXY, TCP4, &IPV4), ends),
            (v2(PROXY, TCP4, &tlv), ends),
            (v2(PROXY, TCP6, &ipv6), Some(of_ipv6)),
        ] {
            assert_eq!(parse(&header), whole(&header, ends), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn local_and_unknown_keep_the_real_endpoints() {
        for header in [
            v2(LOCAL, 0, &[]),
            v2(LOCAL, TCP4, &IPV4),
            v2(LOCAL, TCP4, &[]),
            v2(LOCAL, 0xff, b"anything"),
            v2(PROXY, 0, &[]),
            v2(PROXY, 0, b"anything"),
            v2(PROXY, 0x12, &IPV4),
            v2(PROXY, 0x31, &[b'/'; 216]),
            b"PROXY UNKNOWN\r\n".to_vec(),
        ] {
            assert_eq!(parse(&header), whole(&header, None), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_version_1_header_of_107_bytes_passes_and_one_more_does_not() {
        let header = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(parse(header(107).as_bytes()), whole(&[0; 107], None));
        assert_eq!(parse(header(108).as_bytes()), Progress::Invalid);
        assert_eq!(parse(&header(108).as_bytes()[..106]), Progress::More);
        assert_eq!(parse(&header(108).as_bytes()[..107]), Progress::Invalid);
        assert_eq!(parse(&header(200).as_bytes()[..107]), Progress::Invalid);
    }

    #[test]
    fn a_malformed_version_1_header_is_invalid() {
        for header in [
            "PROXY UNKNOWN\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
            "PROXY TCP4\r1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY unknown\r\n",
            "PROXY \r\n",
            "PROXY  UNKNOWN\r\n",
        ] {
            assert_eq!(parse(header.as_bytes()), Progress::Invalid, "{header:?}");
        }
    }

    #[test]
    fn a_malformed_version_2_header_is_invalid() {
        let with_tlv = |tlv: &[u8]| v2(PROXY, TCP4, &[&IPV4, tlv].concat());
        for header in [
            v2(0x11, TCP4, &IPV4),
            v2(0x31, TCP4, &IPV4),
            v2(0x22, TCP4, &IPV4),
            v2(0x2f, TCP4, &IPV4),
            v2(PROXY, 0x41, &IPV4),
            v2(PROXY, 0x13, &IPV4),
            v2(PROXY, TCP4, &IPV4[..11]),
            v2(PROXY, TCP6, &IPV4),
            with_tlv(&[4, 0, 2, 9]),
            with_tlv(&[4, 0]),
            with_tlv(&[4, 0xff, 0xff]),
            v2(PROXY, TCP4, &[0; 65_535]),
            v2(LOCAL, 0, &[0; 65_535]),
        ] {
            let start = header[..header.len().min(40)].escape_ascii();
            assert_eq!(parse(&header), Progress::Invalid, "{start}");
        }
    }

    #[test]
    fn a_bad_version_or_length_is_refused_before_the_rest_comes() {
        assert_eq!(parse(&v2(0x22, TCP4, &IPV4)[..13]), Progress::Invalid);
        let header = v2(PROXY, TCP4, &[0; 65_535]);
        assert_eq!(parse(&header[..16]), Progress::Invalid);
        let largest = v2(LOCAL, 0, &vec![0; HEAD_BYTES - 16]);
        assert_eq!(parse(&largest), whole(&largest, None));
        assert_eq!(parse(&v2(LOCAL, 0, &vec![0; HEAD_BYTES - 15])), Progress::Invalid);
    }

    #[test]
    fn what_looks_like_a_header_is_known_as_soon_as_it_is_certain() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PROXY", None),
            (b"PROXY ", Some(true)),
            (b"PROXY nonsense", Some(true)),
            (b"PROXY\t", Some(false)),
            (b"PUT", Some(false)),
            (b"\r\n", None),
            (b"\r\nG", Some(false)),
            (b"\r\n\r\n\0\r\nQUIT", None),
            (V2_SIGNATURE, Some(true)),
            (b"\x16\x03", Some(false)),
        ] {
            assert_eq!(looks_like_header(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(parse(b""), Progress::More);
        assert_eq!(parse(b"GET / "), Progress::Invalid);
    }

    fn headers() -> impl Strategy<Value = Vec<u8>> {
        let tlv = prop::collection::vec(any::<u8>(), 0..8);
        let version_1 = "PROXY (TCP4 1\\.2\\.3\\.4 5\\.6\\.7\\.8|TCP6 ::1 ::2|UNKNOWN) [0-9]{1,6} [0-9]{1,5}\r\n";
        prop_oneof![
            version_1.prop_map(String::into_bytes),
            (0x1f..0x24_u8, any::<u8>(), tlv.clone()).prop_map(|(command, family, tlv)| v2(
                command,
                family,
                &[&IPV4, &tlv[..]].concat()
            )),
            (0x20..0x22_u8, prop::sample::select(vec![0, TCP4, 0x12]), tlv).prop_map(
                |(command, family, tlv)| v2(command, family, &[&IPV4, &tlv[..]].concat())
            ),
        ]
    }

    proptest! {
        #[test]
        fn once_certain_more_bytes_change_nothing(
            mut bytes in headers(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
            rest in prop::collection::vec(any::<u8>(), 0..130),
        ) {
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.extend(rest);
            let mut certain = None;
            for end in 0..=bytes.len() {
                let progress = parse(&bytes[..end]);
                if let Some(earlier) = certain {
                    prop_assert_eq!(progress, earlier);
                } else if progress != Progress::More {
                    certain = Some(progress);
                }
                if let Progress::Header { consumed, .. } = progress {
                    prop_assert!(consumed <= end);
                }
                let known = looks_like_header(&bytes[..end]);
                prop_assert!(known.is_none() || known == looks_like_header(&bytes));
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, version_1: bool) {
            let start = if version_1 { V1_PREFIX } else { V2_SIGNATURE };
            let _ = parse(&bytes);
            let _ = parse(&[start, &bytes].concat());
        }
    }
}
