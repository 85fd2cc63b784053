//! What the first bytes of a connection ask for, or why they are refused.

use crate::http::H2Flaw;
use crate::limits::{HEAD_BYTES, HELLO_RECORD_OVERHEAD};
use crate::names::Name;

/// The ALPN protocol of a peer over TLS.
pub const PEER_ALPN: &[u8] = b"ops-proxy/1";

/// The verdict is certain after at most this many bytes: no caller needs to hold
/// more.
pub const MOST_BYTES: usize = HEAD_BYTES + HELLO_RECORD_OVERHEAD;

/// What the first bytes ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A ClientHello with this SNI: all bytes are passed through.
    Tls {
        /// The name asked for; with ECH, the outer one.
        name: Name,
    },
    /// A ClientHello whose ALPN holds [`PEER_ALPN`], whatever its SNI.
    PeerTls,
    /// `HELLO:` or `DATA:` in clear text; nothing is consumed.
    Peer,
    /// An HTTP/1.x request routed by its Host: all bytes, the head included, go
    /// to the backend.
    Http {
        /// The name asked for.
        name: Name,
        /// The method is HEAD: an answer has no body.
        is_head: bool,
    },
    /// A connection of HTTP/2 in clear text (RFC 9113 §3.3), routed by the `:authority` of
    /// its first request: all bytes go to the backend.
    Http2 {
        /// The name asked for.
        name: Name,
        /// The stream of the first request.
        stream: u32,
    },
    /// `CONNECT name:port`. The port is validated and otherwise ignored: the
    /// connecting peer dials its own backend for the name.
    Connect {
        /// The name asked for.
        name: Name,
        /// Length of the head; payload begins here.
        consumed: usize,
    },
    /// It cannot be routed.
    Refused(Refusal),
}

/// Why a connection cannot be routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A complete HTTP head that is malformed, or that names no host or more
    /// than one: 400.
    BadHead,
    /// An HTTP head of more than [`HEAD_BYTES`] or of more than
    /// [`HTTP_FIELDS`](crate::limits::HTTP_FIELDS) fields: 431.
    HeadTooLarge,
    /// An HTTP head whose lines can be read in more than one way, or whose body can: 400.
    BadFraming,
    /// HTTP/2 in clear text whose frames or first request are not sound: GOAWAY.
    Http2(H2Flaw),
    /// TLS without a well-formed ClientHello within the limits; also SSLv2.
    BadClientHello,
    /// A ClientHello without server_name.
    NoSni,
    /// A server_name that is empty, not a [`Name`], an IP literal, or not the only
    /// one.
    BadSni,
    /// Neither TLS, nor a peer, nor HTTP.
    UnknownProtocol,
}
