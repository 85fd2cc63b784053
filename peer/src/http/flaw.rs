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
    /// It is HTTP/2, and not sound.
    #[error(transparent)]
    Http2(#[from] H2Flaw),
}

/// Why a connection of HTTP/2 is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum H2Flaw {
    /// Frames or fields that the standard does not allow.
    #[error("the frames or fields are malformed")]
    Protocol,
    /// A frame too short for its kind.
    #[error("a frame is too short")]
    FrameSize,
    /// A header block that cannot be decoded, or needs too large a table.
    #[error("a header block cannot be decoded")]
    Compression,
    /// A header block over [`HEAD_BYTES`](crate::limits::HEAD_BYTES), or with more than
    /// [`HTTP_FIELDS`](crate::limits::HTTP_FIELDS).
    #[error("a header block is too large")]
    TooLarge,
    /// A request for another name than those before it.
    #[error("a request is for another name than those before it")]
    OtherName,
}

impl H2Flaw {
    /// The error code for GOAWAY (RFC 9113 §7).
    pub fn code(self) -> u8 {
        match self {
            Self::Protocol | Self::OtherName => 0x1,
            Self::FrameSize => 0x6,
            Self::Compression => 0x9,
            Self::TooLarge => 0xb,
        }
    }
}
