//! Builds hellos byte by byte, including bad ones.

use super::hello::{ALPN, CLIENT_HELLO, HOST_NAME, MAJOR_VERSION, SERVER_NAME};
use super::records::{HANDSHAKE_RECORD, RECORD_PAYLOAD_BYTES};

/// An extension: its type and its body.
pub(crate) type Extension = (u16, Vec<u8>);

pub(crate) fn vector(width: usize, body: &[u8]) -> Vec<u8> {
    [&body.len().to_be_bytes()[size_of::<usize>() - width..], body].concat()
}

pub(crate) fn server_names(names: &[(u8, &[u8])]) -> Extension {
    let entry = |(kind, name): &(u8, &[u8])| [&[*kind][..], &vector(2, name)].concat();
    (SERVER_NAME, vector(2, &names.iter().flat_map(entry).collect::<Vec<u8>>()))
}

pub(crate) fn sni(name: &str) -> Extension {
    server_names(&[(HOST_NAME, name.as_bytes())])
}

pub(crate) fn alpn(protocols: &[&[u8]]) -> Extension {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| vector(1, protocol)).collect();
    (ALPN, vector(2, &list))
}

/// The body of a ClientHello up to its extensions.
pub(crate) fn body_start() -> Vec<u8> {
    let ciphers = [0x1a, 0x1a, 0x13, 0x01, 0x13, 0x02];
    [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &vector(2, &ciphers), &vector(1, &[0])].concat()
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &vector(3, body)].concat()
}

pub(crate) fn extensions(list: &[Extension]) -> Vec<u8> {
    list.iter()
        .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &vector(2, body)].concat())
        .collect()
}

/// A ClientHello message with these extensions.
pub(crate) fn hello(list: &[Extension]) -> Vec<u8> {
    message(CLIENT_HELLO, &[body_start(), vector(2, &extensions(list))].concat())
}

/// A ClientHello message for `app` of exactly `length` bytes.
pub(crate) fn hello_of(length: usize) -> Vec<u8> {
    let padding = length - hello(&[sni("app"), (21, vec![])]).len();
    hello(&[sni("app"), (21, vec![0; padding])])
}

/// The message in records of these sizes, in turn.
pub(crate) fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut rest = message;
    let mut sizes = sizes.iter().cycle();
    let mut bytes = Vec::new();
    while !rest.is_empty() {
        let size = *sizes.next().unwrap();
        let (payload, after) = rest.split_at(size.min(rest.len()));
        bytes.extend([HANDSHAKE_RECORD, MAJOR_VERSION, 1]);
        bytes.extend(vector(2, payload));
        rest = after;
    }
    bytes
}

/// The hello in one record.
pub(crate) fn one_record(list: &[Extension]) -> Vec<u8> {
    records(&hello(list), &[RECORD_PAYLOAD_BYTES])
}
