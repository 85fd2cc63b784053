//! A TLS ClientHello, made by hand: peers only ever look at it.

use ops_proxy::limits::{HEAD_BYTES, HELLO_RECORD_OVERHEAD};

use crate::scenario::steps::Request;

/// Most payload of a record (RFC 8446 §5.1).
const RECORD_PAYLOAD_BYTES: usize = 1 << 14;

const RECORD_HEADER_BYTES: usize = 5;

/// The records of the ClientHello of a request. `random` is 32 bytes that nobody looks at.
pub(super) fn client_hello(request: &Request, random: &[u8; 32]) -> Vec<u8> {
    let message = message(&request.name, random, padding(request));
    let mut out = Vec::new();
    for payload in message.chunks(payload(request)) {
        out.extend([22, 3, 1]);
        out.extend(with_length(payload));
    }
    out
}

/// Whether a peer takes the ClientHello of a request, be it for whatever name.
pub fn is_hello_taken(request: &Request) -> bool {
    let message = message(&request.name, &[0; 32], padding(request)).len();
    let payload = payload(request);
    let records = message.div_ceil(payload);
    payload.min(message) <= RECORD_PAYLOAD_BYTES
        && message <= HEAD_BYTES
        && message + records * RECORD_HEADER_BYTES <= HEAD_BYTES + HELLO_RECORD_OVERHEAD
}

fn padding(request: &Request) -> usize {
    request.padding.map_or(0, |padding| padding.0 as usize)
}

/// Most payload of one of its records.
fn payload(request: &Request) -> usize {
    request.records.map_or(usize::MAX, |most| (most.0 as usize).max(1))
}

/// A ClientHello that asks for `name` (RFC 8446 §4.1.2, RFC 6066 §3), with a padding extension
/// (RFC 7685) of `padding` bytes.
fn message(name: &str, random: &[u8; 32], padding: usize) -> Vec<u8> {
    let mut sni = vec![0];
    sni.extend(with_length(name.as_bytes()));
    let mut extensions = vec![0, 0];
    extensions.extend(with_length(&with_length(&sni)));
    // supported_versions: TLS 1.3
    extensions.extend([0, 43, 0, 3, 2, 3, 4]);
    if padding > 0 {
        extensions.extend([0, 21]);
        extensions.extend(with_length(&vec![0; padding]));
    }

    let mut body = vec![3, 3];
    body.extend(random);
    body.push(0);
    body.extend(with_length(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(with_length(&extensions));

    let mut handshake = vec![1, 0];
    handshake.extend(with_length(&body));
    handshake
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a scenario's hello is at most 64 KiB");
    let mut out = length.to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Size;
    use crate::scenario::steps::Via;

    #[test]
    fn the_hello_has_consistent_lengths() {
        let mut request = Request::probe("me", "edge:8080", "app.example", Via::Tls);
        request.padding = Some(Size(300));
        let hello = client_hello(&request, &[7; 32]);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert!(hello.windows(11).any(|window| window == b"app.example"));
        request.records = Some(Size(100));
        let in_records = client_hello(&request, &[7; 32]);
        let payloads = in_records.chunks(105).flat_map(|record| &record[5..]);
        assert!(payloads.eq(&hello[5..]), "the same in records of 100 bytes");
    }

    #[test]
    fn what_is_too_long_is_not_taken() {
        let mut request = Request::probe("me", "edge:8080", "app.example", Via::Tls);
        let others = message(&request.name, &[0; 32], 1).len() - 1;
        let mut is_taken = |length: usize, records: u64| {
            request.padding = Some(Size((length - others) as u64));
            request.records = Some(Size(records));
            is_hello_taken(&request)
        };
        assert!(is_taken(HEAD_BYTES, 16_384) && !is_taken(HEAD_BYTES + 1, 16_384));
        assert!(is_taken(HEAD_BYTES, 21) && !is_taken(HEAD_BYTES, 20), "headers count, too");
        assert!(is_taken(200, 1));
    }
}
