//! The header of the PROXY protocol that opens a connection to a backend.
//!
//! Source: HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2. Pure.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Builder, Command, Protocol, Type, Version};

use crate::config::ProxyVersion;
use crate::wire::Requested;

/// The headers of connections that are no client's, of each version in order: "UNKNOWN"
/// and LOCAL, for checks like ours.
pub(super) const LOCAL: [&[u8]; 2] = [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"];

/// The client came over TLS (section 2.2.5).
const CLIENT_SSL: u8 = 1;
/// The client has shown no certificate that was verified.
const NOT_VERIFIED: [u8; 4] = [0, 0, 0, 1];
const SUBTYPE_SSL_VERSION: u8 = 0x21;

/// The header that names the public client of `requested`, as the listening peer saw it.
pub(super) fn proxy_header(version: ProxyVersion, requested: &Requested) -> Vec<u8> {
    let (source, dest) = both_ends(requested);
    match version {
        ProxyVersion::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let ((from, to), (from_port, to_port)) =
                ((source.ip(), dest.ip()), (source.port(), dest.port()));
            format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
        }
        ProxyVersion::V2 => {
            version_2(source, dest, requested).expect("a name and a few bytes fit the header")
        }
    }
}

fn version_2(
    source: SocketAddr,
    dest: SocketAddr,
    requested: &Requested,
) -> std::io::Result<Vec<u8>> {
    let addresses = (source, dest);
    let mut header =
        Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    if let Some(authority) = requested.authority() {
        header = header.write_tlv(Type::Authority, authority.as_str().as_bytes())?;
    }
    if let Some(tls) = requested.tls {
        let version = format!("TLSv{tls}");
        let length = u16::try_from(version.len()).unwrap_or_default().to_be_bytes();
        let ssl =
            [&[CLIENT_SSL][..], &NOT_VERIFIED, &[SUBTYPE_SSL_VERSION], &length, version.as_bytes()];
        header = header.write_tlv(Type::SSL, &ssl.concat())?;
    }
    header.build()
}

/// Both ends of the public connection, of one family. Where the client connected to is
/// unspecified if it is not known.
fn both_ends(requested: &Requested) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let source = canonical(requested.source);
    let unspecified = match source {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let dest = requested.dest.map_or(unspecified, canonical);
    match (source, dest) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
            (source, dest)
        }
        _ => (as_v6(source), as_v6(dest)),
    }
}

fn as_v6(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::proxy_protocol::{Progress, parse};
    use crate::names::Name;
    use crate::offer::Way;
    use crate::wire::TlsVersion;

    fn requested(source: &str, dest: Option<&str>) -> Requested {
        Requested {
            name: Name::registered("*.example").unwrap(),
            way: Way::Http,
            source: source.parse().unwrap(),
            dest: dest.map(|dest| dest.parse().unwrap()),
            authority: None,
            tls: None,
            trace: None,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (source, dest) in [
            ("192.0.2.7:5555", Some("198.51.100.1:80")),
            ("[2001:db8::7]:5555", Some("[2001:db8::1]:80")),
            ("192.0.2.7:5555", Some("[2001:db8::1]:80")),
            ("192.0.2.7:5555", None),
        ] {
            for version in ProxyVersion::ALL {
                let header = proxy_header(*version, &requested(source, dest));
                let Progress::Header { ends: Some(read), consumed } = parse(&header) else {
                    panic!("{version}: {:?}", String::from_utf8_lossy(&header));
                };
                assert_eq!(consumed, header.len());
                assert_eq!(
                    read.source.ip().to_canonical(),
                    source.parse::<SocketAddr>().unwrap().ip()
                );
                assert_eq!(read.source.port(), 5555);
            }
        }
    }

    #[test]
    fn a_check_speaks_for_nobody() {
        for version in ProxyVersion::ALL {
            let header = LOCAL[*version as usize];
            let Progress::Header { ends: None, consumed } = parse(header) else {
                panic!("{version}: {}", header.escape_ascii());
            };
            assert_eq!(consumed, header.len());
        }
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let header = proxy_header(
            ProxyVersion::V1,
            &requested("[::ffff:192.0.2.7]:5555", Some("198.51.100.1:80")),
        );
        assert_eq!(header, b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 80\r\n");
    }

    #[test]
    fn version_2_names_what_was_asked_for_and_the_tls_of_the_client() {
        let mut requested = requested("192.0.2.7:5555", Some("198.51.100.1:80"));
        requested.authority = Some("www.example".parse().unwrap());
        requested.tls = Some(TlsVersion::V1_3);
        let header = proxy_header(ProxyVersion::V2, &requested);
        let read = ppp::v2::Header::try_from(&header[..]).unwrap();
        let tlvs: Vec<_> = read.tlvs().map(|tlv| tlv.unwrap()).collect();
        assert_eq!((tlvs[0].kind, &tlvs[0].value[..]), (0x02, &b"www.example"[..]));
        let ssl = [&[1, 0, 0, 0, 1, 0x21, 0, 7][..], b"TLSv1.3"].concat();
        assert_eq!((tlvs[1].kind, &tlvs[1].value[..]), (0x20, &ssl[..]));
        requested.way = Way::Tcp;
        requested.tls = None;
        let header = proxy_header(ProxyVersion::V2, &requested);
        assert_eq!(ppp::v2::Header::try_from(&header[..]).unwrap().tlvs().count(), 0);
    }
}
