//! The ClientHello (RFC 8446 §4.1.2), as far as routing needs it.
//!
//! Records (RFC 8446 §5.1) are walked as they arrive; the message is parsed once, when
//! they contain all of it. `tls-parser` parses the message itself. Its extension parsers
//! stop silently at a wrong length and only partly know GREASE, ECH and the ALPN list, so
//! extensions are walked here: server_name and ALPN are parsed strictly, all others are
//! skipped.

mod hello;
mod reader;
mod records;

pub(super) use records::{HANDSHAKE_RECORD, Hello, sslv2_opening};

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
