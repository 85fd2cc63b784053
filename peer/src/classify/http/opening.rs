//! Whether the first bytes begin a request, a peer's line, or an unknown protocol.

use super::super::opening::Opening;
use super::super::verdict::Refusal;
use crate::http::PREFACE;
use crate::limits::HTTP_METHOD_BYTES;

/// As much of the preface of HTTP/2 as excludes any HTTP/1.x request.
const PREFACE_LINE: &[u8] = PREFACE.split_at(14).0;

/// What a connection begins with, if not TLS.
pub(in crate::classify) fn opening(bytes: &[u8]) -> Option<Opening> {
    const UNKNOWN: Option<Opening> = Some(Opening::Refused(Refusal::UnknownProtocol));
    let start = match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return None,
        _ => 0,
    };
    let window = &bytes[start..];
    let Some(length) = window.iter().take(HTTP_METHOD_BYTES + 1).position(|&byte| !is_tchar(byte))
    else {
        return if window.len() > HTTP_METHOD_BYTES { UNKNOWN } else { None };
    };
    match (&window[..length], window[length]) {
        (b"HELLO" | b"DATA", b':') if start == 0 => Some(Opening::Peer),
        (b"", _) => UNKNOWN,
        (b"PRI", b' ') if start == 0 && window.starts_with(PREFACE_LINE) => Some(Opening::Http2),
        (b"PRI", b' ') if PREFACE_LINE.starts_with(window) => None,
        (_, b' ') => Some(Opening::Http(start)),
        _ => UNKNOWN,
    }
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
