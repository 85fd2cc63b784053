//! The wire protocol, version 1: one line, one verb; and the frames of DATA.
//!
//! `VERB:field:…` ended by LF (CR LF tolerated), at most
//! [`LINE_BYTES`](crate::limits::LINE_BYTES) long; the last field may contain colons.
//! [`LineBuffer`] cuts a byte stream into lines, [`Line`] is the meaning of a line,
//! [`frames`] marks the end of a request without closing its connection, and [`datagrams`]
//! keeps apart what a request over UDP consists of. The table of lines is in
//! `ARCHITECTURE.md`.
//!
//! Pure: nothing here may know a socket, a clock or a task.

mod codes;
pub mod datagrams;
mod error;
pub mod frames;
mod line;
mod line_buffer;
mod proof;
mod reported;
mod requested;
mod withdrawal;

pub use codes::{ErrorCode, FailReason};
pub use error::WireError;
pub use line::{Line, VERSION, forbidden_names, in_lines};
pub use line_buffer::LineBuffer;
pub use proof::TokenProof;
pub use reported::ReportedError;
pub use requested::{Requested, TlsVersion};
pub use withdrawal::Withdrawal;
