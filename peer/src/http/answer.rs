//! Response heads.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Response, Status};

use super::body::Body;
use super::fields::{Coding, Fields};
use super::flaw::Flaw;
use super::request::Asks;
use crate::limits::HTTP_FIELDS;

/// The head of an answer, as far as its end is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status code.
    pub status: u16,
    /// What follows the head.
    pub body: Body,
    /// The connection ends after it.
    pub closes: bool,
}

impl AnswerHead {
    /// Whether another answer to the same request follows (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Reads a complete head of an answer to a request that asked for this.
///
/// # Errors
/// [`Flaw`].
pub fn read_answer(head: &[u8], asked: Asks) -> Result<AnswerHead, Flaw> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HTTP_FIELDS];
    let mut answer = Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        head,
        &mut storage,
    );
    match parsed {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(Error::TooManyHeaders) => return Err(Flaw::TooLarge),
        _ => return Err(Flaw::Head),
    }
    let (Some(status), Some(minor)) = (answer.code, answer.version) else { return Err(Flaw::Head) };
    let fields = Fields::read(answer.headers)?;
    // RFC 9112 §6.3, in its order.
    let body = match (fields.coding, fields.length) {
        _ if asked == Asks::Head || matches!(status, 100..200 | 204 | 304) => Body::none(),
        (Some(Coding::Chunked | Coding::ChunkedLast), _) if minor == 1 => Body::chunked(),
        (Some(Coding::Other), _) if minor == 1 => Body::until_close(),
        (Some(_), _) => return Err(Flaw::Framing),
        (None, Some(length)) => Body::of_length(length),
        (None, None) => Body::until_close(),
    };
    let closes = fields.close || body.is_until_close() || (minor == 0 && !fields.keep_alive);
    Ok(AnswerHead { status, body, closes })
}
