//! The ClientHello (RFC 8446 §4.1.2), as far as routing needs it.
//!
//! Records (RFC 8446 §5.1) are walked as they arrive; once they hold the whole
//! message it is parsed, once. `tls-parser` reads the message itself. Its
//! extension parsers stop silently at a lying length and know GREASE, ECH and
//! the ALPN list only in part, so extensions are walked here: server_name and
//! ALPN are read strictly, all others are passed over unread.

mod hello;
mod reader;
mod records;

pub(super) use records::{HANDSHAKE_RECORD, Hello, sslv2_opening};

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
