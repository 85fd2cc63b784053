use crate::classify::{MOST_BYTES, Refusal, Verdict, classify};
use crate::http::{H2Flaw, PREFACE};
use crate::limits::{HEAD_BYTES, HTTP_FIELDS, HTTP_METHOD_BYTES};
use crate::names::Name;

fn name(text: &str) -> Name {
    Name::requested(text).unwrap()
}

fn http(host: &str) -> Option<Verdict> {
    Some(Verdict::Http { name: name(host), is_head: false })
}

fn refused(refusal: Refusal) -> Option<Verdict> {
    Some(Verdict::Refused(refusal))
}

/// A head of exactly `length` bytes.
fn head_of(length: usize) -> Vec<u8> {
    let start = "GET / HTTP/1.1\r\nHost: app\r\nX: ";
    let padding = "x".repeat(length - start.len() - 4);
    format!("{start}{padding}\r\n\r\n").into_bytes()
}

#[test]
fn any_method_is_routed_by_host() {
    let longest = "M".repeat(HTTP_METHOD_BYTES);
    for method in [
        "GET",
        "PUT",
        "PATCH",
        "REPORT",
        "FOO",
        "H",
        "D",
        "DATA",
        "HELLO",
        "PRI",
        "PROXY",
        "!#$%&'*+-.^_`|~",
        "get",
        &longest,
    ] {
        let head = format!("{method} /path HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(classify(head.as_bytes()), http("app"), "{method}");
    }
    let is_head = Some(Verdict::Http { name: name("app"), is_head: true });
    assert_eq!(classify(b"HEAD / HTTP/1.1\r\nHost: app\r\n\r\n"), is_head);
}

#[test]
fn a_short_first_segment_decides_nothing_before_it_is_certain() {
    for start in [
        "H",
        "HE",
        "HEAD",
        "HELLO",
        "DATA",
        "D",
        "GET",
        "GET ",
        "P",
        "PRI",
        "PRI ",
        "PRI * HTTP/",
        "\r",
        "\r\n",
        "\r\nG",
        "REPORT",
    ] {
        assert_eq!(classify(start.as_bytes()), None, "{start:?}");
    }
    assert_eq!(classify(b""), None);
}

#[test]
fn a_peers_line_is_known_at_its_first_colon() {
    assert_eq!(classify(b"HELLO:"), Some(Verdict::Peer));
    assert_eq!(classify(b"DATA:"), Some(Verdict::Peer));
    assert_eq!(classify(b"DATA:0123\nGET / HTTP/1.1\r\n\r\n"), Some(Verdict::Peer));
    assert_eq!(classify(b"HELLO :"), None);
}

#[test]
fn what_begins_like_no_method_is_unknown_at_once() {
    let long = [b'M'; HTTP_METHOD_BYTES + 1];
    for bytes in [
        &b"\0"[..],
        b" ",
        b"\n",
        b":",
        b"SSH-2.0-OpenSSH_9.9\r",
        b"GET\t",
        b"HELL:",
        b"HELLOO:",
        b"DATAA:",
        b"hello:",
        b"G\xc3",
        b"\r\r",
        b"\r\n\r",
        b"\r\n\n",
        b"\r\n ",
        b"\r\nHELLO:",
        b"\x15",
        b"\x7f",
        &long,
    ] {
        let verdict = classify(bytes);
        assert_eq!(verdict, refused(Refusal::UnknownProtocol), "{}", bytes.escape_ascii());
        let before = classify(&bytes[..bytes.len() - 1]);
        assert_eq!(before, None, "{}", bytes.escape_ascii());
    }
    assert_eq!(classify(&long[..HTTP_METHOD_BYTES]), None);
}

#[test]
fn one_empty_line_before_the_request_is_passed_over() {
    assert_eq!(classify(b"\r\nGET / HTTP/1.1\r\nHost: app\r\n\r\n"), http("app"));
    let head = b"\r\nCONNECT app:1 HTTP/1.1\r\nHost: app\r\n\r\n";
    let connect = Verdict::Connect { name: name("app"), consumed: head.len() };
    assert_eq!(classify(head), Some(connect));
}

#[test]
fn the_http2_preface_is_known_by_its_version() {
    let broken = b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n";
    assert_eq!(classify(broken), refused(Refusal::Http2(H2Flaw::Protocol)));
    assert_eq!(classify(&broken[..18]), None);
    assert_eq!(classify(b"\r\nPRI * HTTP/2.0\r\n\r\n"), refused(Refusal::BadHead));
    assert_eq!(classify(b"PRI * HTTP/1.1\r\nHost: app\r\n\r\n"), http("app"));
}

#[test]
fn a_host_is_normalised() {
    for (host, normal) in [
        ("A.Example.:443", "a.example"),
        ("[::1]:80", "[::1]"),
        ("[0:0:0::1]", "[::1]"),
        ("10.0.0.1:8080", "10.0.0.1"),
        (" \t app \t", "app"),
        ("app:", "app"),
    ] {
        let head = format!("GET / HTTP/1.1\r\nhOsT:{host}\r\n\r\n");
        assert_eq!(classify(head.as_bytes()), http(normal), "{host:?}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_a_bad_head() {
    for fields in [
        "",
        "Accept: */*",
        "Host: app\r\nHost: app",
        "Host: app\r\nhost: other",
        "Host:",
        "Host : app",
        "Host\t: app",
        "Host: a\rpp",
        "Host: app\r\nX: bare\rcr",
        "Host: app\r\nX: bare\r",
        "Host: app\r\nX: a\0b",
        "Host: a\0pp",
        "Host: app\r\nX\0: b",
        "Host: app\r\nX: a\x7fb",
        "Host: app\r\nX: a\x1bb",
        "Host: \u{e4}pp",
        "Host: app\r\nX\u{e4}: b",
        "Host: app\r\nno colon",
        "Host: app\r\n: no name",
        "Host: user@app",
        "Host: http://app",
        "Host: app/path",
        "Host: a b",
        "Host: a,b",
        "Host: *.app",
        "Host: _a",
        "Host: a..b",
        "Host: app:port",
        "Host: app:65536",
        "Host: ::1",
        "Host: [::1",
        "Host: a%20b",
    ] {
        for version in ["1.0", "1.1"] {
            let head = format!("GET / HTTP/{version}\r\n{fields}\r\n\r\n");
            assert_eq!(classify(head.as_bytes()), refused(Refusal::BadHead), "{head:?}");
        }
    }
}

#[test]
fn a_folded_line_is_bad_framing() {
    for fields in [" Host: app", "Host: app\r\n folded", "Host: app\r\nX: a\r\n\tfolded"] {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(classify(head.as_bytes()), refused(Refusal::BadFraming), "{head:?}");
    }
}

#[test]
fn a_malformed_request_line_is_a_bad_head() {
    for line in [
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / http/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\rX",
        "GET /",
        "GET ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET app HTTP/1.1",
        "GET app:80 HTTP/1.1",
        "GET ** HTTP/1.1",
        "connect app:80 HTTP/1.1",
        "PRI * HTTP/2.1",
    ] {
        let head = format!("{line}\r\nHost: app\r\n\r\n");
        assert_eq!(classify(head.as_bytes()), refused(Refusal::BadHead), "{line:?}");
    }
}

#[test]
fn the_absolute_form_must_agree_with_host() {
    for target in ["http://app/", "HTTP://APP./x", "https://app:8443", "ws+x://app?q", "/x://y"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: App:80\r\n\r\n");
        assert_eq!(classify(head.as_bytes()), http("app"), "{target}");
    }
    for target in [
        "http://other/",
        "http://user@app/",
        "http:///x",
        "http://app@other/",
        "http://app:x/",
        "http://other?app/",
        "http://app\\@other/",
        "1http://app/",
        "://app",
        "http:/app",
        "http://app#/",
        "http://app#@other/",
        "x y://app/",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: app\r\n\r\n");
        let verdict = classify(head.as_bytes());
        assert_eq!(verdict, refused(Refusal::BadHead), "{target}");
    }
    let options = b"OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n";
    assert_eq!(classify(options), http("app"));
}

#[test]
fn bytes_above_ascii_pass_in_other_fields() {
    let head = b"GET / HTTP/1.1\r\nHost: app\r\nX: \xe4\xff\x80\r\n\r\n";
    assert_eq!(classify(head), http("app"));
}

#[test]
fn a_line_that_ends_with_lf_alone_is_bad_framing() {
    for head in ["GET / HTTP/1.1\nHost: app\n\n", "GET / HTTP/1.1\r\nHost: app\n\r\n", "GET /\n"] {
        assert_eq!(classify(head.as_bytes()), refused(Refusal::BadFraming), "{head:?}");
    }
}

#[test]
fn connect_takes_a_name_and_a_port_and_consumes_its_head() {
    for (target, host) in [
        ("app:443", "Host: app:443\r\n"),
        ("App.:1", "Host: app\r\n"),
        ("app:65535", "Host: APP.:1\r\nX: y\r\n"),
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\n{host}\r\n");
        let connect = Some(Verdict::Connect { name: name("app"), consumed: head.len() });
        assert_eq!(classify(head.as_bytes()), connect, "{target}");
        assert_eq!(classify(format!("{head}\r\npayload\n\n").as_bytes()), connect);
    }
    let ipv6 = b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n";
    let connect = Verdict::Connect { name: name("[::1]"), consumed: ipv6.len() };
    assert_eq!(classify(ipv6), Some(connect));
}

#[test]
fn a_connect_that_is_no_name_and_port_is_a_bad_head() {
    for target in [
        "app",
        "app:",
        "app:0",
        "app:00",
        "app:65536",
        "app:+80",
        "app:x",
        ":80",
        "app:80:90",
        "a b:80",
        "user@app:80",
        "http://app:80",
        "http://app:80/",
        "/",
        "*",
        "[::1]",
        "[::1]:",
        "::1:80",
        "*.app:80",
        "app:80/",
        "\u{e4}pp:80",
    ] {
        for fields in ["".to_owned(), format!("Host: {target}\r\n"), "Host: app\r\n".to_owned()] {
            let head = format!("CONNECT {target} HTTP/1.0\r\n{fields}\r\n");
            assert_eq!(classify(head.as_bytes()), refused(Refusal::BadHead), "{head:?}");
        }
    }
}

#[test]
fn connect_goes_without_host_in_http_1_0_only() {
    let bare = b"CONNECT app:80 HTTP/1.0\r\n\r\n";
    let connect = Verdict::Connect { name: name("app"), consumed: bare.len() };
    assert_eq!(classify(bare), Some(connect));
    for head in [
        "CONNECT app:80 HTTP/1.1\r\n\r\n",
        "CONNECT app:80 HTTP/1.1\r\nHost: other:80\r\n\r\n",
        "CONNECT app:80 HTTP/1.0\r\nHost: other\r\n\r\n",
        "CONNECT app:80 HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n",
    ] {
        assert_eq!(classify(head.as_bytes()), refused(Refusal::BadHead), "{head:?}");
    }
}

#[test]
fn a_head_of_16384_bytes_passes_and_one_more_does_not() {
    let fits = head_of(HEAD_BYTES);
    assert_eq!(classify(&fits), http("app"));
    assert_eq!(classify(&fits[..HEAD_BYTES - 1]), None);
    assert_eq!(classify(&[&fits[..], &[b'x'; MOST_BYTES]].concat()), http("app"));

    let large = head_of(HEAD_BYTES + 1);
    assert_eq!(classify(&large), refused(Refusal::HeadTooLarge));
    assert_eq!(classify(&large[..HEAD_BYTES]), refused(Refusal::HeadTooLarge));
    assert_eq!(classify(&large[..HEAD_BYTES - 1]), None);
    let mut bit_by_bit = super::super::Classifier::default();
    let verdict = (1..=large.len()).find_map(|end| bit_by_bit.advance(&large[..end]));
    assert_eq!(verdict, refused(Refusal::HeadTooLarge));
}

#[test]
fn a_head_of_128_fields_passes_and_one_more_does_not() {
    let head = |count| {
        let fields = "X: y\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n")
    };
    assert_eq!(classify(head(HTTP_FIELDS).as_bytes()), http("app"));
    let refusal = refused(Refusal::HeadTooLarge);
    assert_eq!(classify(head(HTTP_FIELDS + 1).as_bytes()), refusal);
}

#[test]
fn what_follows_the_head_is_of_no_account() {
    let head = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\n";
    for rest in [&b"abc"[..], b"\r\n\r\n", b"\0\xff", b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"] {
        assert_eq!(classify(&[head, rest].concat()), http("app"));
    }
}

#[test]
fn http2_is_routed_by_its_first_request() {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut bytes = [PREFACE, &settings].concat();
    bytes.extend(b"\0\0\x0a\x01\x05\0\0\0\x03\x82\x84\x86\x41\x05App:1");
    assert_eq!(classify(&bytes[..bytes.len() - 1]), None);
    let verdict = Some(Verdict::Http2 { name: name("app"), stream: 3 });
    assert_eq!(classify(&bytes), verdict);
    // What follows is not its business.
    bytes.extend([0xff; 9]);
    assert_eq!(classify(&bytes), verdict);
}

#[test]
fn http2_without_a_request_within_the_limit_is_refused() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend([0, 0x40, 0, 4, 0, 0, 0, 0, 0]);
    bytes.resize(HEAD_BYTES, 0);
    assert_eq!(classify(&bytes[..HEAD_BYTES - 1]), None);
    assert_eq!(classify(&bytes), refused(Refusal::Http2(H2Flaw::TooLarge)));
}
