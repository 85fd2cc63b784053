//! What an HTTP proxy answers to CONNECT. Pure.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use crate::limits::{HTTP_FIELDS, LOG_TEXT_CHARS};

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub status: u16,
    /// The words beside it; may be none.
    reason: String,
    /// Bytes of the head.
    pub length: usize,
}

impl Answer {
    /// Whether another answer follows (RFC 9110 §15.2).
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// Whether the bytes behind it are those of the other end (RFC 9110 §9.3.6).
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Status and reason, for a log: of what the proxy wrote, no more than an operator reads.
    pub(super) fn said(&self) -> String {
        let words = self.reason.chars().filter(|c| !c.is_control());
        let words: String = words.take(LOG_TEXT_CHARS).collect();
        format!("{} {words}", self.status).trim_end().to_owned()
    }
}

/// These bytes begin no answer of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotHttp;

/// Reads the answer that `bytes` begin with; `None` while its head is not whole.
///
/// # Errors
/// [`NotHttp`].
pub(super) fn read_answer(bytes: &[u8]) -> Result<Option<Answer>, NotHttp> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HTTP_FIELDS];
    let mut answer = Response::new(&mut []);
    let config = ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut storage);
    let Status::Complete(length) = parsed.map_err(|_| NotHttp)? else { return Ok(None) };
    let status = answer.code.ok_or(NotHttp)?;
    let reason = answer.reason.unwrap_or_default().to_owned();
    Ok(Some(Answer { status, reason, length }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REFUSAL: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
        Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 3\r\n\r\nno!";

    fn read(text: &str) -> Option<Answer> {
        read_answer(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_is_its_status_its_reason_and_where_its_head_ends() {
        let answer = read(REFUSAL).unwrap();
        assert_eq!(answer.said(), "407 Proxy Authentication Required");
        assert_eq!(&REFUSAL[answer.length..], "no!");
        assert!(!answer.is_success() && !answer.is_interim());
        assert_eq!(read("HTTP/1.0 200\r\n\r\n").unwrap().said(), "200");
        assert!(read("HTTP/1.1 200 Connection established\r\n\r\n").unwrap().is_success());
        assert!(read("HTTP/1.1 100 Continue\r\n\r\n").unwrap().is_interim());
    }

    #[test]
    fn a_log_gets_no_more_of_the_reason_than_one_reads() {
        let long = format!("HTTP/1.1 500 {}\r\n\r\n", "x".repeat(LOG_TEXT_CHARS + 1));
        assert_eq!(read(&long).unwrap().said().len(), "500 ".len() + LOG_TEXT_CHARS);
    }

    #[test]
    fn what_is_no_answer_is_refused_at_once() {
        for bytes in [&b"SSH-2.0-x\r\n"[..], b"\x05\xff", b"\x15\x03\x03\x00\x02\x02\x28", b"HELLO"]
        {
            assert_eq!(read_answer(bytes), Err(NotHttp), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_of_a_head_is_waited_for(
            status in 100u16..1000, reason in "[ -~]{0,40}", at in any::<prop::sample::Index>()
        ) {
            let whole = format!("HTTP/1.1 {status} {reason}\r\nA: b\r\n\r\n");
            let cut = at.index(whole.len());
            prop_assert_eq!(read_answer(&whole.as_bytes()[..cut]), Ok(None));
            let answer = read(&whole).unwrap();
            prop_assert_eq!((answer.status, answer.length), (status, whole.len()));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(answer)) = read_answer(&bytes) {
                prop_assert!(answer.length <= bytes.len());
            }
        }
    }
}
