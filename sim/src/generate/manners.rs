//! What clients may do to no effect, and ClientHellos of every length.
//!
//! Drawn apart from all else, which so stays as it is.

use super::draw::Draw;
use crate::scenario::steps::{Request, Via};
use crate::scenario::{Size, Step};

/// Makes a different number of a seed.
const APART: u64 = 0x4d41_4e4e;

/// Changes how some clients ask.
pub(super) fn draw(seed: u64, steps: &mut [Step]) {
    let draw = &mut Draw::new(seed ^ APART);
    let sends_empty_lines = draw.chance(0.4);
    let has_odd_hellos = draw.chance(0.5);
    for request in steps.iter_mut().filter_map(|step| step.request.as_mut()) {
        for exchange in request.exchanges.iter_mut().filter(|_| request.via == Via::Http) {
            exchange.empty_line = sends_empty_lines && draw.chance(0.3);
        }
        if has_odd_hellos && request.via == Via::Tls && draw.chance(0.7) {
            hello(draw, request);
        }
    }
}

/// A ClientHello that is long, or in many records, or both; now and then it is longer than a peer
/// takes.
fn hello(draw: &mut Draw, request: &mut Request) {
    let padding = match draw.between(0, 2) {
        0 => None,
        1 => Some(draw.between(1, 2_000)),
        // With the rest, as long as a head may be at most, about.
        _ => Some(draw.between(16_295, 16_325)),
    };
    // Byte by byte, it would take longer than a head may.
    request.padding = padding.filter(|long| *long <= 2_000 || !request.split).map(Size);
    request.records = Some(Size(*draw.one(&[1, 1, 5, 20, 21, 22, 700, 16_384])));
}
