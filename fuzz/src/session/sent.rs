//! Lines as they go over the wire.

use ops_proxy::wire::{Line, LineBuffer};

/// The line as it comes out at the other end.
pub(super) fn sent(line: Line) -> Line {
    let mut buffer = LineBuffer::starting_with(format!("{line}\n").as_bytes());
    let text = buffer.next_line().expect("it is short").expect("it is whole");
    let read = Line::parse(&text).expect("it was written by us");
    assert_eq!(read, line);
    read
}
