//! HTTP/1.x request heads (RFC 9112), as far as routing needs them.
//!
//! The head is searched for its end while it arrives and parsed once, when it
//! is whole. `httparse` refuses bare CR, NUL, obs-fold, space before a colon and
//! versions other than 1.0 and 1.1; what a Host and a request target may be is
//! decided here, strictly: whatever two readers could understand differently is
//! a bad head. Where the standard leaves a choice:
//!
//! - One CRLF before the request line is ignored (RFC 9112 §2.2) and replayed.
//! - A line may end with LF alone (RFC 9112 §2.2).
//! - Bytes above ASCII stand in field values other than Host (RFC 9110 §5.5).
//! - A CONNECT needs a Host only in HTTP/1.1 (RFC 9112 §3.2); any other request
//!   always does, for nothing else routes it.
//! - The port of a Host is checked and not compared: names have none.

mod head;
mod opening;
mod target;

pub(super) use head::Head;
pub(super) use opening::opening;

#[cfg(test)]
mod tests;
