//! How datagrams lie within the bytes of a request.
//!
//! A request over UDP is carried as any other, by a stream of bytes. Within it, a datagram is
//! two bytes of length (big endian), then its payload, which may be empty. Two lengths that no
//! datagram can have end the direction: 65535 cleanly, and 65534 because the backend refuses
//! datagrams. A stream that ends without one of them was cut, whatever its connection says.

use bytes::{Buf, BytesMut};

/// Longest payload of a datagram, in bytes: what a length of 16 bits leaves of a packet of IPv4
/// behind its headers (RFC 791 §3.1, RFC 768).
pub const DATAGRAM_BYTES: usize = 65_507;

/// Bytes before each datagram.
pub const DATAGRAM_HEADER_BYTES: usize = 2;

const END: u16 = u16::MAX;
const REFUSED: u16 = u16::MAX - 1;

/// Why no more datagrams follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was sent for long enough, or the peer is about to end.
    Quiet,
    /// The backend's port is closed.
    Refused,
}

/// What stands at the front of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'a> {
    /// A datagram. It and its header are [`skip`]ped once it is done with.
    Datagram(&'a [u8]),
    /// No more follow.
    Ended(Ended),
}

/// A length that no datagram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram cannot be {0} bytes long")]
pub struct BadLength(pub u16);

/// Appends a datagram.
///
/// # Panics
/// If it is longer than [`DATAGRAM_BYTES`].
pub fn put(datagram: &[u8], into: &mut BytesMut) {
    assert!(datagram.len() <= DATAGRAM_BYTES, "no datagram of UDP is longer");
    into.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
    into.extend_from_slice(datagram);
}

/// Appends the end.
pub fn put_end(ended: Ended, into: &mut BytesMut) {
    let mark = match ended {
        Ended::Quiet => END,
        Ended::Refused => REFUSED,
    };
    into.extend_from_slice(&mark.to_be_bytes());
}

/// What stands at the front of `bytes`; `None` until all of it has come.
///
/// # Errors
/// What stands there is nothing.
pub fn front(bytes: &[u8]) -> Result<Option<Unit<'_>>, BadLength> {
    let Some((header, rest)) = bytes.split_first_chunk::<DATAGRAM_HEADER_BYTES>() else {
        return Ok(None);
    };
    match u16::from_be_bytes(*header) {
        END => Ok(Some(Unit::Ended(Ended::Quiet))),
        REFUSED => Ok(Some(Unit::Ended(Ended::Refused))),
        length if usize::from(length) > DATAGRAM_BYTES => Err(BadLength(length)),
        length => Ok(rest.get(..usize::from(length)).map(Unit::Datagram)),
    }
}

/// Datagrams, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// How many.
    pub datagrams: usize,
    /// Bytes of their payload.
    pub bytes: usize,
}

/// Counts the whole datagrams that lie one behind the other.
pub fn measure(mut datagrams: &[u8]) -> Measure {
    let mut measure = Measure::default();
    while let Ok(Some(Unit::Datagram(datagram))) = front(datagrams) {
        measure.datagrams += 1;
        measure.bytes += datagram.len();
        datagrams = &datagrams[DATAGRAM_HEADER_BYTES + datagram.len()..];
    }
    measure
}

/// Takes a datagram of `length` bytes from the front.
pub fn skip(bytes: &mut BytesMut, length: usize) {
    bytes.advance(DATAGRAM_HEADER_BYTES + length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was read: datagrams, and the end, if it came.
    type Read = (Vec<Vec<u8>>, Option<Ended>);

    /// Reads a stream that comes in `pieces`.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Read, BadLength> {
        let (mut waiting, mut datagrams) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(piece);
            loop {
                let length = match front(&waiting)? {
                    Some(Unit::Datagram(datagram)) => {
                        datagrams.push(datagram.to_vec());
                        datagram.len()
                    }
                    Some(Unit::Ended(ended)) => return Ok((datagrams, Some(ended))),
                    None => break,
                };
                skip(&mut waiting, length);
            }
        }
        Ok((datagrams, None))
    }

    #[test]
    fn datagrams_lie_on_the_stream_as_documented() {
        let mut bytes = BytesMut::new();
        put(b"ab", &mut bytes);
        put(b"", &mut bytes);
        put_end(Ended::Refused, &mut bytes);
        put_end(Ended::Quiet, &mut bytes);
        assert_eq!(&bytes[..], b"\0\x02ab\0\0\xff\xfe\xff\xff");
        assert_eq!(measure(&bytes), Measure { datagrams: 2, bytes: 2 });
    }

    #[test]
    fn the_longest_datagram_passes_and_nothing_longer_is_one() {
        let mut bytes = BytesMut::new();
        put(&[7; DATAGRAM_BYTES], &mut bytes);
        assert_eq!(read([&bytes[..]]).unwrap().0, [[7; DATAGRAM_BYTES]]);
        for length in DATAGRAM_BYTES as u16 + 1..REFUSED {
            assert_eq!(front(&length.to_be_bytes()), Err(BadLength(length)));
        }
    }

    proptest! {
        /// However the network cuts the stream, and wherever it ends too soon.
        #[test]
        fn any_cut_gives_the_same_datagrams(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(1..400_usize, 0..40),
            lost in 0..5_usize,
        ) {
            let mut bytes = BytesMut::new();
            sent.iter().for_each(|datagram| put(datagram, &mut bytes));
            put_end(Ended::Quiet, &mut bytes);
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (got, ended) = read(pieces).unwrap();
            prop_assert_eq!((&got, ended), (&sent, Some(Ended::Quiet)));
            if lost > 0 {
                let kept = &bytes[..bytes.len().saturating_sub(lost)];
                let (got, ended) = read([kept]).unwrap();
                prop_assert_eq!(ended, None, "it was cut");
                prop_assert_eq!(&got[..], &sent[..got.len()]);
            }
        }

        #[test]
        fn nothing_that_comes_can_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read([&bytes[..]]);
        }
    }
}
