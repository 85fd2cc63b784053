//! What clients may do to no effect.
//!
//! Drawn apart from all else, which so stays as it is.

use super::draw::Draw;
use crate::scenario::Step;

/// Makes a different number of a seed.
const APART: u64 = 0x4d41_4e4e;

/// Changes how some clients ask.
pub(super) fn draw(seed: u64, steps: &mut [Step]) {
    let draw = &mut Draw::new(seed ^ APART);
    let sends_empty_lines = draw.chance(0.4);
    for request in steps.iter_mut().filter_map(|step| step.request.as_mut()) {
        for exchange in &mut request.exchanges {
            exchange.empty_line = sends_empty_lines && draw.chance(0.3);
        }
    }
}
