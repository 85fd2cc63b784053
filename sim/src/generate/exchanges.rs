//! Clients that have several requests on one connection, for one name and another.

use ops_proxy::limits::RELAY_BYTES;

use super::draw::Draw;
use super::names::asked;
use crate::scenario::Size;
use crate::scenario::steps::{Answer, Exchange, Fault, Request};

/// Most exchanges on one connection.
const MOST_EXCHANGES: u64 = 6;

/// Most bytes of one body.
const MOST_BYTES: u64 = 60_000;

/// Gives the request exchanges in place of what it asked for; `names` are those of HTTP
/// backends.
pub(super) fn draw(draw: &mut Draw, request: &mut Request, names: &[&String]) {
    let few = draw.chance(0.5);
    let names: Vec<&String> = match few {
        true => vec![*draw.one(names), *draw.one(names)],
        false => names.to_vec(),
    };
    let count = draw.between(1, MOST_EXCHANGES);
    let exchanges = (1..=count).map(|number| {
        let name = *draw.one(&names);
        let name = asked(draw, name);
        exchange(draw, name, number == count)
    });
    request.exchanges = exchanges.collect();
    request.pipelined = draw.chance(0.6);
    request.half_close = draw.chance(0.2);
    request.cuts = draw.chance(0.3).then(|| Size(*draw.one(&[3, 40, 700])));
    let small = request.exchanges.iter().all(|one| one.upload.0 < 500);
    request.split = small && draw.chance(0.15);
    if request.split {
        request.cuts = None;
    }
    // So few bytes that it is not a matter of minutes.
    if request.cuts.is_some_and(|most| most.0 < 700) {
        request.exchanges.iter_mut().for_each(|one| one.upload.0 = one.upload.0.min(1_000));
    }
    // A peer reads ahead of an answer no further than this: a client that asks for more behind
    // one that never comes is not seen to leave.
    if request.pipelined && waits(&request.exchanges) {
        let most = RELAY_BYTES as u64 / 2 / count;
        let behind = request.exchanges.iter_mut().skip(1);
        behind.for_each(|one| one.upload.0 = one.upload.0.min(most));
    }
    (request.name, request.method) = (String::new(), None);
    (request.upload, request.download, request.keep_alive) = (Size(0), Size(0), 1);
}

/// Whether any of these may have to wait for the answers before it.
fn waits(exchanges: &[Exchange]) -> bool {
    let is_special = |one: &Exchange| one.fault.is_some() || one.answer == Answer::Upgrade;
    let differ = exchanges.windows(2).any(|pair| pair[0].plain_name() != pair[1].plain_name());
    differ || exchanges.iter().any(is_special)
}

/// The size of a body: none, small, or up to `most` bytes.
pub(super) fn size(draw: &mut Draw, most: u64) -> Size {
    match draw.between(0, 9) {
        0..=2 => Size(0),
        3..=7 => Size(draw.between(1, 2_000)),
        _ => Size(draw.between(2_000, most)),
    }
}

fn exchange(draw: &mut Draw, name: String, is_last: bool) -> Exchange {
    let (upload, download) = (size(draw, MOST_BYTES), size(draw, MOST_BYTES));
    let mut exchange = Exchange { name, upload, download, ..Exchange::default() };
    exchange.answer = match draw.between(0, 19) {
        0..=7 => Answer::Length,
        8..=12 => Answer::Chunked,
        13..=15 => Answer::NoContent,
        16..=18 => Answer::NotModified,
        _ => Answer::UntilClose,
    };
    exchange.interim = if draw.chance(0.15) { draw.between(1, 2) as u32 } else { 0 };
    if is_last && draw.chance(0.12) {
        exchange.answer = Answer::Upgrade;
        return exchange;
    }
    if is_last && draw.chance(0.25) {
        exchange.fault = Some(*draw.one(Fault::ALL));
        return exchange;
    }
    if draw.chance(0.25) {
        exchange.method = Some("HEAD".to_owned());
        exchange.upload = Size(0);
    }
    exchange.chunked = exchange.upload.0 > 0 && draw.chance(0.4);
    exchange.expects = exchange.upload.0 > 0 && draw.chance(0.15);
    exchange.closes = draw.chance(if is_last { 0.2 } else { 0.04 });
    exchange
}
