use std::sync::Arc;

use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::fixture::*;
use super::hello::*;
use super::records::*;
use crate::classify::{MOST_BYTES, PEER_ALPN, Refusal, Verdict, classify};
use crate::limits::{HEAD_BYTES, HELLO_RECORD_OVERHEAD};
use crate::names::Name;

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
    let extension =
        |kind: u16, body: &[u8]| end(&vector(2, &extensions(&[(kind, body.to_vec()), sni("app")])));
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
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
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
