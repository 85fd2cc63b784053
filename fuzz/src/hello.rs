//! ClientHellos, built from the input so that most of them are good, and read by
//! rustls as well: `peer/src/classify/tls.rs`.

use ops_proxy::classify::{MOST_BYTES, PEER_ALPN, Refusal, Verdict};
use ops_proxy::limits::HEAD_BYTES;
use ops_proxy::names::Name;
use rustls::server::Acceptor;

use crate::classify::assert_verdict;
use crate::input::Input;

/// A record of all but the largest messages.
const RECORD_PAYLOAD_BYTES: usize = 1 << 14;

/// Extensions that rustls wants in a hello, each of them good.
const USUAL: [(u16, &[u8]); 4] = [
    (10, &[0, 2, 0, 29]),
    (13, &[0, 4, 4, 3, 8, 7]),
    (43, &[4, 3, 4, 3, 3]),
    (51, &[0, 5, 0, 29, 0, 1, 7]),
];

/// `data` says what stands in a hello and how it is cut into records. However it
/// is cut, the verdict is the same, and it is what rustls reads in it.
pub fn hello(data: &[u8]) {
    let mut input = Input::new(data);
    let message = message(&mut input);
    let sizes: Vec<usize> = (0..4).map(|_| 1 + usize::from(input.number()) % 2_000).collect();
    let one = records(&message, &[RECORD_PAYLOAD_BYTES]);
    let verdict = assert_verdict(&one);
    let followed = assert_verdict(&[&one, input.bytes(16)].concat());
    assert!(verdict.is_none() || followed == verdict, "{verdict:?} became {followed:?}");
    let many = records(&message, &sizes);
    if message.len() <= HEAD_BYTES && many.len() <= MOST_BYTES {
        assert_eq!(assert_verdict(&many), verdict, "in records of {sizes:?}");
        assert_agreement(verdict, read_by_rustls(&one), &message);
        assert_eq!(read_by_rustls(&many), read_by_rustls(&one), "rustls joins records as well");
    }
}

/// What rustls reads in a hello that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    server_name: Option<String>,
    is_peer: bool,
}

fn read_by_rustls(mut bytes: &[u8]) -> Option<Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        if acceptor.read_tls(&mut bytes).ok()? == 0 {
            return None;
        }
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let mut protocols = hello.alpn().into_iter().flatten();
            return Some(Accepted {
                server_name: hello.server_name().map(str::to_owned),
                is_peer: protocols.any(|protocol| protocol == PEER_ALPN),
            });
        }
    }
}

/// We may route what rustls refuses, since we pass it on; but a hello that rustls
/// accepts is understood as rustls understands it, but for a list of names of
/// several types: rustls picks the host name, we refuse it.
fn assert_agreement(ours: Option<Verdict>, theirs: Option<Accepted>, message: &[u8]) {
    let Some(Accepted { server_name, is_peer }) = theirs else { return };
    if is_peer {
        assert_eq!(ours, Some(Verdict::PeerTls));
        return;
    }
    match server_name {
        Some(text) => {
            let expected = match Name::requested(&text) {
                Ok(name) => Verdict::Tls { name },
                Err(_) => Verdict::Refused(Refusal::BadSni),
            };
            if ours == Some(Verdict::Refused(Refusal::BadSni)) && !names_only(message, &text) {
                return;
            }
            assert_eq!(ours, Some(expected), "rustls reads {text:?}");
        }
        None => {
            let refused = matches!(ours, Some(Verdict::Refused(Refusal::NoSni | Refusal::BadSni)));
            assert!(refused, "rustls reads no name and this is {ours:?}");
        }
    }
}

/// Whether a server_name extension of the message holds this one name.
fn names_only(message: &[u8], text: &str) -> bool {
    let only = extension(0, &vector(2, &[&[0][..], &vector(2, text.as_bytes())].concat()));
    message.windows(only.len()).any(|window| window.eq_ignore_ascii_case(&only))
}

/// A ClientHello (RFC 8446 §4.1.2), as the input has it: good, but for up to three
/// bytes of its body that are something else.
fn message(input: &mut Input<'_>) -> Vec<u8> {
    let omitted = input.byte();
    let session = vec![9; usize::from(input.choice(34))];
    let mut extensions = Vec::new();
    for (index, (kind, body)) in USUAL.into_iter().enumerate() {
        if omitted & 1 << index == 0 {
            extensions.extend(extension(kind, body));
        }
    }
    for _ in 0..input.choice(6) {
        extensions.extend(any_extension(input));
    }
    let mut body = [&[3, 3][..], &[7; 32], &vector(1, &session)].concat();
    body.extend([0, 6, 0x13, 0x01, 0xc0, 0x2b, 0x1a, 0x1a, 1, 0]);
    if omitted & 0x80 == 0 {
        body.extend(vector(2, &extensions));
    }
    for _ in 0..input.choice(4) {
        // Not of the version: rustls takes any, RFC 8446 §4.1.2 only one.
        let at = 2 + usize::from(input.number()) % (body.len() - 2);
        body[at] = input.byte();
    }
    [&[1][..], &vector(3, &body)].concat()
}

fn any_extension(input: &mut Input<'_>) -> Vec<u8> {
    match input.choice(6) {
        0 | 1 => {
            let mut names = Vec::new();
            // A second name is rare: it makes the extension a bad one.
            for _ in 0..1 + input.choice(16) / 15 {
                let kind = input.choice(16) / 15;
                let length = usize::from(input.byte());
                names.extend([&[kind][..], &vector(2, input.bytes(length))].concat());
            }
            extension(0, &vector(2, &names))
        }
        2 => {
            let mut protocols = Vec::new();
            for _ in 0..input.choice(4) {
                let length = usize::from(input.choice(16));
                let protocol = if length == 15 { PEER_ALPN } else { input.bytes(length) };
                protocols.extend(vector(1, protocol));
            }
            extension(16, &vector(2, &protocols))
        }
        3 => extension(21, &vec![0; usize::from(input.number())]),
        _ => {
            let kind = input.number();
            let length = usize::from(input.byte());
            extension(kind, input.bytes(length))
        }
    }
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, body)].concat()
}

/// `body` behind its length of `width` bytes, or of what fits in them.
fn vector(width: usize, body: &[u8]) -> Vec<u8> {
    [&body.len().to_be_bytes()[size_of::<usize>() - width..], body].concat()
}

/// The message in records of these sizes, in turn (RFC 8446 §5.1).
fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut rest = message;
    let mut bytes = Vec::new();
    for &size in sizes.iter().cycle() {
        let (payload, after) = rest.split_at(size.min(rest.len()));
        bytes.extend([22, 3, 1]);
        bytes.extend(vector(2, payload));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    bytes
}
