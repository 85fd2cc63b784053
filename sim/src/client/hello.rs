//! A TLS ClientHello, made by hand: peers only ever look at it.

/// One record with a ClientHello that asks for `name` (RFC 8446 §4.1.2, RFC
/// 6066 §3), with a padding extension (RFC 7685) of `padding` bytes. `random` is
/// 32 bytes that nobody looks at.
pub(super) fn client_hello(name: &str, random: &[u8; 32], padding: usize) -> Vec<u8> {
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
    let mut record = vec![22, 3, 1];
    record.extend(with_length(&handshake));
    record
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

    #[test]
    fn the_hello_has_consistent_lengths() {
        let hello = client_hello("app.example", &[7; 32], 300);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert!(hello.windows(11).any(|window| window == b"app.example"));
    }
}
