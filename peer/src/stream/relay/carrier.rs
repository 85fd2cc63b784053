//! What carries bulk from one stream to another.

use std::io;
use std::task::{Context, Poll};

use super::side::Side;

/// Carries bulk from one stream to another. Held only while bytes flow; one that is
/// dropped empty returns to its pool.
pub trait Carrier<R, W>: Sized {
    /// Whether it moves bytes past the frames: then neither side may have any left.
    const RAW: bool;

    /// An empty one, to carry what `reader` has; `None` when there is none to be had, and small
    /// reads go on.
    fn acquire(reader: &Side<R>) -> Option<Self>;

    /// Takes at most `limit` bytes from `reader`, and says how many; 0 when it has ended.
    /// Called only while [empty](Self::is_empty).
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        limit: usize,
    ) -> Poll<io::Result<usize>>;

    /// Gives `writer` what it accepts, and returns how many bytes. Called only
    /// while not [empty](Self::is_empty).
    fn poll_drain(&mut self, cx: &mut Context<'_>, writer: &mut Side<W>)
    -> Poll<io::Result<usize>>;

    /// Whether everything read has been written.
    fn is_empty(&self) -> bool;
}
