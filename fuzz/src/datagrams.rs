//! Datagrams within a stream: `peer/src/wire/datagrams.rs`.

use bytes::BytesMut;
use ops_proxy::wire::datagrams::{BadLength, Ended, Unit, front, measure, put, put_end, skip};

use crate::splits::splits;

/// `data` is a stream of datagrams. Any split of it gives the same ones, and the same end; what
/// was read is what was written.
pub fn datagrams(data: &[u8]) {
    let whole = read(data, &[data.len()]);
    for ends in splits(data) {
        assert_eq!(read(data, &ends), whole, "split at {ends:?}");
    }
    let mut written = BytesMut::new();
    whole.datagrams.iter().for_each(|datagram| put(datagram, &mut written));
    assert_eq!(measure(data), measure(&written));
    if let Ok(Some(ended)) = whole.end {
        put_end(ended, &mut written);
    }
    assert_eq!(&written[..], &data[..data.len() - whole.rest]);
}

/// What a stream holds.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    datagrams: Vec<Vec<u8>>,
    end: Result<Option<Ended>, BadLength>,
    /// Bytes behind those.
    rest: usize,
}

fn read(data: &[u8], ends: &[usize]) -> Read {
    let (mut waiting, mut datagrams, mut start) = (BytesMut::new(), Vec::new(), 0);
    for &end in ends {
        waiting.extend_from_slice(&data[start..end]);
        start = end;
        loop {
            let length = match front(&waiting) {
                Ok(Some(Unit::Datagram(datagram))) => {
                    datagrams.push(datagram.to_vec());
                    datagram.len()
                }
                Ok(Some(Unit::Ended(ended))) => {
                    skip(&mut waiting, 0);
                    let rest = waiting.len() + data.len() - start;
                    return Read { datagrams, end: Ok(Some(ended)), rest };
                }
                Ok(None) => break,
                Err(error) => {
                    let rest = waiting.len() + data.len() - start;
                    return Read { datagrams, end: Err(error), rest };
                }
            };
            skip(&mut waiting, length);
        }
    }
    Read { datagrams, end: Ok(None), rest: waiting.len() }
}
