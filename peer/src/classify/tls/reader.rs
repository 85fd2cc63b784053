//! Reads numbers and vectors off the front of bytes, as encoded in RFC 8446 §3.

use super::super::verdict::Refusal;

/// The bytes are not a well-formed ClientHello.
pub(super) struct Malformed;

impl From<Malformed> for Refusal {
    fn from(Malformed: Malformed) -> Self {
        Self::BadClientHello
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = from.split_at_checked(count).ok_or(Malformed)?;
    *from = rest;
    Ok(taken)
}

/// A big-endian number of `width` bytes.
pub(super) fn take_number(from: &mut &[u8], width: usize) -> Result<usize, Malformed> {
    let digits = take(from, width)?;
    Ok(digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)))
}

/// A vector after its length of `width` bytes (RFC 8446 §3.4).
pub(super) fn take_vector<'a>(from: &mut &'a [u8], width: usize) -> Result<&'a [u8], Malformed> {
    let length = take_number(from, width)?;
    take(from, length)
}

/// A vector with nothing after it.
pub(super) fn take_last_vector<'a>(
    from: &mut &'a [u8],
    width: usize,
) -> Result<&'a [u8], Malformed> {
    let vector = take_vector(from, width)?;
    if from.is_empty() { Ok(vector) } else { Err(Malformed) }
}
