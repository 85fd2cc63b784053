//! Metrics as they were at a moment.

/// Metrics that were kept for the snapshot.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The checkpoint.
    pub label: String,
    /// The peer.
    pub peer: String,
    /// What `/metrics` answers.
    pub text: String,
}
