//! The lines of the wire protocol: `peer/src/wire.rs`.

use bytes::Bytes;
use ops_proxy::limits::LINE_BYTES;
use ops_proxy::wire::{ErrorCode, Line, LineBuffer, in_lines};

use crate::splits::splits;

/// `data` is a stream of lines. Any split of it gives the same lines and the same
/// rest; what parses reads back what it writes.
pub fn wire(data: &[u8]) {
    let whole = cut(data, &[data.len()]);
    for ends in splits(data) {
        assert_eq!(cut(data, &ends), whole, "split at {ends:?}");
    }
    assert_nothing_is_lost(data, &whole);
    for line in &whole.lines {
        read(line);
    }
}

/// What a [`LineBuffer`] makes of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    lines: Vec<Bytes>,
    /// What follows the last line; `None` once a line was too long.
    rest: Option<Bytes>,
}

fn cut(data: &[u8], ends: &[usize]) -> Cut {
    let mut buffer = LineBuffer::default();
    let mut lines = Vec::new();
    let mut start = 0;
    for &end in ends {
        buffer.push(&data[start..end]);
        start = end;
        loop {
            match buffer.next_line() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::LineTooLong);
                    return Cut { lines, rest: None };
                }
            }
        }
    }
    Cut { lines, rest: Some(buffer.into_rest()) }
}

fn assert_nothing_is_lost(data: &[u8], cut: &Cut) {
    let mut joined: Vec<u8> = Vec::new();
    for line in &cut.lines {
        assert!(line.len() <= LINE_BYTES);
        joined.extend_from_slice(line);
        joined.push(b'\n');
    }
    match &cut.rest {
        Some(rest) => assert_eq!([&joined, &rest[..]].concat(), data),
        None => {
            let rest = data.strip_prefix(&joined[..]).expect("the lines begin the stream");
            assert!(!rest[..=LINE_BYTES].contains(&b'\n'), "the next line is within its limit");
        }
    }
}

fn read(line: &[u8]) {
    let Ok(parsed) = Line::parse(line) else { return };
    let text = parsed.to_string();
    assert!(!text.contains(['\r', '\n']), "{text:?}");
    assert_eq!(Line::parse(text.as_bytes()), Ok(parsed.clone()), "{text:?}");
    assert_eq!(Line::parse(format!("{text}\r").as_bytes()), Ok(parsed.clone()), "{text:?}");
    if let Line::Register(offers) = parsed {
        let groups = in_lines(offers.clone());
        assert_eq!(groups.concat(), offers);
        for group in groups {
            assert!(Line::Register(group).to_string().len() <= LINE_BYTES);
        }
    }
}
