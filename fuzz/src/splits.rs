//! How a stream is cut into reads.
//!
//! The cuts follow from the bytes themselves, so that a corpus file is the very
//! stream, and any file of bytes can become one.

/// So many bytes at either end of a stream are read one by one, and those between
/// in reads of seven: a long stream would take too long.
const BYTE_BY_BYTE: usize = 1024;

/// The ends of the reads of `bytes`, the whole of it last: byte by byte, and twice
/// at a few places that every byte has a say in.
pub(crate) fn splits(bytes: &[u8]) -> [Vec<usize>; 3] {
    let between = BYTE_BY_BYTE..bytes.len().saturating_sub(BYTE_BY_BYTE);
    let each = (0..=bytes.len()).filter(|end| !between.contains(end) || end % 7 == 0).collect();
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut few = |count: usize| {
        let mut ends: Vec<usize> = (0..count).map(|_| below(&mut state, bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        ends
    };
    [each, few(1), few(6)]
}

/// A number from 0 to `most`: one step of SplitMix64.
fn below(state: &mut u64, most: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize % (most + 1)
}
