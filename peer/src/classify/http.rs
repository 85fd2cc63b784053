//! HTTP/1.x request heads (RFC 9112), as far as routing needs them.
//!
//! The end of the head is searched for while it arrives; the head is parsed once, when
//! it is complete. `httparse` refuses bare CR, NUL, obs-fold, space before a colon and
//! versions other than 1.0 and 1.1. What is valid as a Host and a request target is
//! decided here, strictly: anything that two parsers could read differently is a bad
//! head. Where the standard leaves a choice:
//!
//! - One CRLF before the request line is ignored (RFC 9112 §2.2) and replayed.
//! - A line may end with LF alone (RFC 9112 §2.2).
//! - Non-ASCII bytes are allowed in field values other than Host (RFC 9110 §5.5).
//! - A CONNECT needs a Host only in HTTP/1.1 (RFC 9112 §3.2). Any other request always
//!   needs one, because nothing else routes it.
//! - The port of a Host is validated but not compared: names have no port.

mod head;
mod opening;
mod target;

pub(super) use head::Head;
pub(super) use opening::opening;

#[cfg(test)]
mod tests;
