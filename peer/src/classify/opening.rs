//! What the very first bytes look like, before anything is parsed.

use super::verdict::Refusal;

/// What the opening bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// A ClientHello.
    Tls,
    /// An HTTP request whose method starts here.
    Http(usize),
    /// A peer's first line.
    Peer,
    /// Something that is refused.
    Refused(Refusal),
}
