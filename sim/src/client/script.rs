//! What a client sends for each exchange, and what it must hear.

use super::orders::{AnsweredBy, Order};
use crate::message::{HIDDEN, body_of, chunked, read, trailers_of};
use crate::payload::Pattern;
use crate::scenario::steps::{Answer, Exchange, Fault, Request};

/// One request on the wire.
pub(super) struct Turn<'a> {
    pub(super) exchange: &'a Exchange,
    /// Who may answer.
    pub(super) by: &'a AnsweredBy,
    /// Its head.
    pub(super) head: Vec<u8>,
    /// Bytes of the head that go on whatever its peer says of the client instead.
    pub(super) lasting: u64,
    /// What follows the head.
    pub(super) body: Vec<u8>,
    /// The body waits for a word of the backend.
    pub(super) waits: bool,
    /// It must be refused.
    pub(super) is_bad: bool,
    /// What its backend must say that it has read.
    pub(super) reads: String,
    /// The pattern of what is sent; that of the answer follows from it.
    pub(super) up: Pattern,
}

impl Turn<'_> {
    /// The pattern of the answer.
    pub(super) fn down(&self) -> Pattern {
        Pattern(self.up.0 | 1)
    }
}

/// All that a client sends on one connection, in order.
pub(super) fn turns(order: &Order, seed: u64) -> Vec<Turn<'_>> {
    let exchanges = &order.request.exchanges;
    let mut turns = Vec::new();
    // What follows a request that was said to be the last, and is for another name.
    let mut closed: Option<String> = None;
    let mut is_hidden = false;
    for (number, (exchange, by)) in (0..).zip(exchanges.iter().zip(&order.answered_by)) {
        is_hidden |= closed.as_ref().is_some_and(|name| *name != exchange.plain_name());
        let up = Pattern(seed << 16 | number << 1);
        let turn = turn(exchange, by, up, is_hidden, &order.request);
        let surplus = exchange.fault == Some(Fault::LongBody);
        turns.push(turn);
        if surplus {
            let head = [b"surplus\r\n\r\n", &hidden(&exchange.name)[..]].concat();
            let reads = String::new();
            let body = Vec::new();
            let (waits, is_bad, lasting) = (false, true, 0);
            turns.push(Turn { exchange, by, head, lasting, body, waits, is_bad, reads, up });
        }
        if exchange.closes && closed.is_none() {
            closed = Some(exchange.plain_name());
        }
    }
    turns
}

fn turn<'a>(
    exchange: &'a Exchange,
    by: &'a AnsweredBy,
    up: Pattern,
    is_hidden: bool,
    request: &Request,
) -> Turn<'a> {
    let Exchange { name, answer, interim, download, upload, .. } = exchange;
    let method = exchange.method();
    let target = format!("/{answer}/{interim}/{download}?seed={}", up.0);
    // RFC 9112 §2.2
    let before = if exchange.empty_line { "\r\n" } else { "" };
    let mut head = format!("{before}{method} {target} HTTP/1.1\r\nHost: {name}\r\n");
    let mut body = body_of(up, upload.0);
    let is_upgrade = *answer == Answer::Upgrade;
    let mut reads = read(method, &target, name, if is_upgrade { &[] } else { &body }, "");
    let is_bad = !matches!(exchange.fault, None | Some(Fault::LongBody));
    match exchange.fault {
        Some(fault) if is_bad => {
            let (fields, content) = spoilt(fault);
            head.push_str(&fields);
            body = [&content[..], &hidden(name)].concat();
        }
        _ if is_upgrade => head.push_str("Connection: Upgrade\r\nUpgrade: echo\r\n"),
        _ if exchange.chunked => {
            let trailers = trailers_of(&body);
            reads = read(method, &target, name, &body, &trailers);
            head.push_str("Transfer-Encoding: chunked\r\n");
            body = [&chunked(up, &body)[..], trailers.as_bytes(), b"\r\n"].concat();
        }
        None if body.is_empty() => {}
        _ => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
    }
    if exchange.expects {
        head.push_str("Expect: 100-continue\r\n");
    }
    if exchange.closes {
        head.push_str("Connection: close\r\n");
    }
    if is_hidden {
        head.push_str(&format!("X-Never: {HIDDEN}\r\n"));
    }
    let lasting = (head.len() + "\r\n".len() - before.len()) as u64;
    head.push_str(&claims(request));
    head.push_str("\r\n");
    let waits = exchange.expects || (is_upgrade && !request.pipelined);
    Turn { exchange, by, head: head.into_bytes(), lasting, body, waits, is_bad, reads, up }
}

/// What each head says of clients.
pub(super) fn claims(request: &Request) -> String {
    request.claims.iter().map(|claim| format!("{claim}\r\n")).collect()
}

/// A request that must reach nobody.
fn hidden(name: &str) -> Vec<u8> {
    format!("GET /hidden HTTP/1.1\r\nHost: {name}\r\nX-Never: {HIDDEN}\r\n\r\n").into_bytes()
}

/// The fields and the content of a request with this fault.
fn spoilt(fault: Fault) -> (String, Vec<u8>) {
    let never = format!("X-Never: {HIDDEN}\r\n");
    let in_head = |fields: &str| (format!("{never}{fields}"), b"0\r\n\r\n".to_vec());
    let in_body = |content: String| {
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("5\r\nsound\r\n{content}").into())
    };
    match fault {
        Fault::BothLengths => in_head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        Fault::TwoLengths => in_head("Content-Length: 5\r\nContent-Length: 6\r\n"),
        Fault::FoldedLine => in_head("X-Folded: one\r\n two\r\n"),
        Fault::BareLf => in_head("X-Bare: one\nX-Other: two\r\n"),
        Fault::BadChunk => in_body(format!("{HIDDEN}\r\n0\r\n\r\n")),
        Fault::ChunkSpace => in_body(format!("17 ;{HIDDEN}\r\n0\r\n\r\n")),
        Fault::LongChunk => in_body(format!("3\r\nabc{HIDDEN}\r\n0\r\n\r\n")),
        Fault::LengthInTrailer => in_body(format!("0\r\n{never}Content-Length: 5\r\n\r\n")),
        Fault::LongBody => (String::new(), Vec::new()),
    }
}
