//! HTTP/1.x messages (RFC 9112), and the frames of HTTP/2 (`h2`), as far as it takes to send each request where its Host
//! says: heads, how long bodies are, and which answer belongs to which request.
//!
//! Pure and incremental: what was read of a direction goes in; how much of it may be passed
//! on comes out. Any cut of the bytes gives the same events. What two readers could read
//! differently is [refused](Flaw) before a byte of it is passed on (RFC 9112 §6.3, §11.2).
//! Nothing here may know a socket, a clock or a task.
//!
//! Where the standard leaves a choice:
//!
//! - A line ends with CRLF; a bare LF is refused, and so is a folded line (obs-fold).
//! - One CRLF before a request line is ignored (RFC 9112 §2.2) and passed on.
//! - Non-ASCII bytes are allowed in field values other than Host (RFC 9110 §5.5).
//! - A CONNECT needs a Host only in HTTP/1.1 (RFC 9112 §3.2). Any other request always
//!   needs one, because nothing else routes it.
//! - The port of a Host is validated but not compared: names have no port.
//! - Content-Length comes once, in digits, and never with Transfer-Encoding, of which a
//!   request may have nothing but `chunked`.

mod admission;
mod answer;
mod body;
mod conversation;
mod exchange;
mod fields;
mod flaw;
mod h2;
mod head_at;
mod head_end;
mod request;
mod target;
mod told;

pub use admission::{Admission, Standstill, Stop};
pub use answer::{AnswerHead, read_answer};
pub use body::{Body, Part};
pub use conversation::Conversation;
pub use exchange::{Exchange, RequestLine};
pub use flaw::{Flaw, H2Flaw};
pub use h2::{GOAWAY_NO_ERROR, PREFACE, Watch, answer, goaway, greeting};
pub use head_end::HeadEnd;
pub use request::{Asks, RequestHead, read_request};
pub use told::{Client, Told};

#[cfg(test)]
mod tests;
