//! A certificate that was issued, and where it lies.

use std::path::PathBuf;

/// A certificate and its key, both PEM. Has no `Debug`, so that no key is printed.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
    /// The last day on which the certificate is valid.
    pub(super) until: String,
}

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}
