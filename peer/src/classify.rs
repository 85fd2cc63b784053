//! What the first bytes of a public connection ask for.
//!
//! Pure and incremental: the caller keeps every byte it has read, hands them
//! all to [`Classifier::advance`] after each read, and gets a [`Verdict`] as
//! soon as one is certain. One byte at a time gives the verdict of all at once,
//! and bytes after the deciding ones never change it. Deadlines are the
//! caller's business.
//!
//! | first bytes | way |
//! |---|---|
//! | `0x16` | [`tls`]: a ClientHello, routed by SNI, or a peer by ALPN |
//! | an SSLv2 CLIENT-HELLO | refused as a bad hello |
//! | `HELLO:`, `DATA:` | a peer in clear text |
//! | a method token and a space | [`http`]: routed by Host, or a CONNECT |
//! | anything else | refused as soon as it shows |
//!
//! A PROXY protocol header comes before all of these and is not known here: ask
//! [`proxy_protocol::looks_like_header`] first, and classify what follows it.

mod http;
pub mod proxy_protocol;
mod tls;

use crate::limits::{HEAD_BYTES, HELLO_RECORD_OVERHEAD};
use crate::names::Name;

/// The ALPN protocol of a peer over TLS.
pub const PEER_ALPN: &[u8] = b"ops-proxy/1";

/// A verdict is certain at the latest with so many bytes: no caller needs to
/// hold more.
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
    /// `CONNECT name:port`. The port is checked and otherwise of no account:
    /// the connecting peer dials its own backend for the name.
    Connect {
        /// The name asked for.
        name: Name,
        /// Length of the head; payload begins here.
        consumed: usize,
    },
    /// Nothing that can be routed.
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
    /// The preface of HTTP/2 in clear text (RFC 9113 §3.4).
    H2c,
    /// TLS, but no well-formed ClientHello within the limits; also SSLv2.
    BadClientHello,
    /// A ClientHello without server_name.
    NoSni,
    /// A server_name that is empty, no [`Name`], an IP literal, or not the only
    /// one.
    BadSni,
    /// Neither TLS nor a peer nor HTTP.
    UnknownProtocol,
}

/// Classifies one connection; remembers how far it has read, so that a head
/// that arrives in one-byte writes costs no more than one that does not.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    stage: Stage,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Opening,
    Http(http::Head),
    Tls(tls::Hello),
}

/// What the opening bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// A ClientHello.
    Tls,
    /// An HTTP request whose method starts here.
    Http(usize),
    /// A peer's first line.
    Peer,
    /// Something that is refused.
    Refused(Refusal),
}

impl Classifier {
    /// The verdict, once `bytes` hold enough for one; `None` asks for more.
    /// `bytes` are all the bytes of the connection so far: what an earlier call
    /// was given, and what was read since. Certain within [`MOST_BYTES`]; a
    /// verdict once given is given again for every longer input.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        if let Stage::Opening = self.stage {
            self.stage = match opening(bytes)? {
                Opening::Tls => Stage::Tls(tls::Hello::default()),
                Opening::Http(start) => Stage::Http(http::Head::starting_at(start)),
                Opening::Peer => return Some(Verdict::Peer),
                Opening::Refused(refusal) => return Some(Verdict::Refused(refusal)),
            };
        }
        match &mut self.stage {
            Stage::Opening => None,
            Stage::Http(head) => head.advance(bytes),
            Stage::Tls(hello) => hello.advance(bytes),
        }
    }
}

/// The verdict on `bytes` as the first of a connection; `None` when it takes
/// more of them. As one [`Classifier::advance`].
pub fn classify(bytes: &[u8]) -> Option<Verdict> {
    Classifier::default().advance(bytes)
}

fn opening(bytes: &[u8]) -> Option<Opening> {
    match *bytes.first()? {
        tls::HANDSHAKE_RECORD => Some(Opening::Tls),
        0x80.. => tls::sslv2_opening(bytes),
        _ => http::opening(bytes),
    }
}
