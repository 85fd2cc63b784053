//! Why a message is refused.

/// Why a message is refused: it has no one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The head breaks the rules.
    #[error("the head is malformed")]
    Head,
    /// The head is over [`HEAD_BYTES`](crate::limits::HEAD_BYTES) or has more than
    /// [`HTTP_FIELDS`](crate::limits::HTTP_FIELDS).
    #[error("the head is too large")]
    TooLarge,
    /// Two readers could find its end, or that of a line, in two places.
    #[error("the framing is ambiguous or malformed")]
    Framing,
}
