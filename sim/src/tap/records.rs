//! TLS between peers, listened in on: records of which anyone can read the
//! content, see [`crypto`](crate::tls::crypto).

use crate::tls::crypto::TAG_BYTES;

/// Type, version and length of a record (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;

/// The type of a protected record, and of application data within (RFC 8446 §5.2).
const APPLICATION_DATA: u8 = 23;

/// What one end of a connection writes.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// A record that is not whole yet.
    begun: Vec<u8>,
}

impl Records {
    /// Whether the first record of what was written is not whole yet.
    pub(super) fn first_is_open(written: &[u8]) -> bool {
        record_bytes(written).is_none()
    }

    /// Takes in what was written, and returns what of it is not TLS's own.
    pub(super) fn wrote(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let mut content = Vec::new();
        let mut start = 0;
        while let Some(length) = record_bytes(&self.begun[start..]) {
            let record = &self.begun[start..start + length];
            content.extend_from_slice(content_of(record));
            start += length;
        }
        self.begun.drain(..start);
        content
    }
}

/// The length of the first record with its header, once all of it is there.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]);
    let length = HEADER_BYTES + usize::from(length);
    (bytes.len() >= length).then_some(length)
}

/// The application data of a record; nothing for a record that has none.
fn content_of(record: &[u8]) -> &[u8] {
    let (kind, payload) = (record[0], &record[HEADER_BYTES..]);
    let inner = payload.len().checked_sub(TAG_BYTES).map(|end| &payload[..end]);
    match inner.and_then(<[u8]>::split_last) {
        Some((&APPLICATION_DATA, content)) if kind == APPLICATION_DATA => content,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8], inner: u8) -> Vec<u8> {
        let payload = [content, &[inner], &[0xaa; TAG_BYTES]].concat();
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3], &length[..], &payload].concat()
    }

    #[test]
    fn only_application_data_is_heard_however_it_is_cut() {
        let written = [
            record(22, b"a hello", 22),
            record(APPLICATION_DATA, b"a certificate", 22),
            record(APPLICATION_DATA, b"HELLO:1:si", APPLICATION_DATA),
            record(APPLICATION_DATA, b"te\n", APPLICATION_DATA),
        ]
        .concat();
        for size in [1, 7, written.len()] {
            let mut records = Records::default();
            let heard: Vec<u8> =
                written.chunks(size).flat_map(|bytes| records.wrote(bytes)).collect();
            assert_eq!(heard, b"HELLO:1:site\n", "in pieces of {size}");
        }
    }
}
