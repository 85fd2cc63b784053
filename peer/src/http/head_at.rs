//! The heads that bytes begin with, once they are whole.

use super::answer::read_answer;
use super::body::Body;
use super::flaw::Flaw;
use super::head_end::HeadEnd;
use super::request::{Asks, RequestHead, read_request_for};
use crate::names::Name;

/// What matters of a request to its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) asks: Asks,
    pub(super) upgrade: bool,
    pub(super) closes: bool,
}

/// The request head that `bytes` begin with, and its length, once it is whole. It is likely
/// one for `likely`.
pub(super) fn request_at(
    end: &mut HeadEnd,
    bytes: &[u8],
    likely: &Name,
) -> Result<Option<(usize, RequestHead)>, Flaw> {
    // One empty line before it is passed over (RFC 9112 §2.2).
    let start = match bytes {
        [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    if start > 0 {
        end.begin_at(start);
    }
    let Some(length) = end.find(bytes)? else { return Ok(None) };
    Ok(Some((length, read_request_for(&bytes[start..length], Some(likely))?)))
}

/// A head of an answer, by what follows it.
pub(super) enum Answer {
    Interim(usize),
    Final { status: u16, head: usize, body: Body, closes: bool },
    Switched,
}

/// The head of an answer that `bytes` begin with, once it is whole.
pub(super) fn answer_at(
    end: &mut HeadEnd,
    bytes: &[u8],
    asked: Asked,
) -> Result<Option<Answer>, Flaw> {
    let Some(length) = end.find(bytes)? else { return Ok(None) };
    let head = read_answer(&bytes[..length], asked.asks)?;
    Ok(Some(match head.status {
        101 if asked.upgrade => Answer::Switched,
        101 => return Err(Flaw::Framing),
        _ if head.is_interim() => Answer::Interim(length),
        status => Answer::Final { status, head: length, body: head.body, closes: head.closes },
    }))
}
