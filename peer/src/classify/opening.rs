//! What the very first bytes look like, before anything is parsed.

use super::verdict::Refusal;

/// What the opening bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// A ClientHello.
    Tls,
    /// An HTTP request whose method starts here.
    Http(usize),
    /// The preface of HTTP/2.
    Http2,
    /// A peer's first line.
    Peer,
    /// Something that is refused.
    Refused(Refusal),
}
