//! What a relay reports while it runs, and how it can fail.

use std::io;

use crate::http::Exchange;

/// Receives counts of payload bytes as they are written, not when the relay ends, and of
/// HTTP requests as they end.
pub trait Meter: Sync {
    /// `bytes` went from the public client to the backend.
    fn sent(&self, bytes: usize);
    /// `bytes` went from the backend to the public client.
    fn received(&self, bytes: usize);
    /// This many datagrams could not be sent on, whichever way.
    fn lost(&self, _datagrams: usize) {}
    /// An HTTP request has ended, with or without its answer.
    fn exchanged(&self, _exchange: Exchange) {}
}

/// Counts nothing.
#[derive(Debug)]
pub struct Uncounted;

impl Meter for Uncounted {
    fn sent(&self, _bytes: usize) {}

    fn received(&self, _bytes: usize) {}
}

/// Which stream failed, and how.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The public client's connection failed.
    #[error("public connection: {0}")]
    Public(#[source] io::Error),
    /// The backend's, or the DATA connection's.
    #[error("backend connection: {0}")]
    Backend(#[source] io::Error),
}
