//! Bulk by copying, through pooled buffers that are larger than a stack read. TLS reads its own
//! bulk through them, too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::side::Side;
use crate::limits::{RELAY_BUFFERS_POOLED, RELAY_BULK_BYTES};
use crate::lock::Lock;

static POOL: Lock<Vec<Box<[u8]>>> = Lock::new("the pool of buffers", Vec::new());

/// A buffer of [`RELAY_BULK_BYTES`], on loan from a process-wide pool.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    /// What was taken and not given yet.
    taken: std::ops::Range<usize>,
}

impl Buffer {
    /// An empty one, from the pool if it has any.
    pub fn pooled() -> Self {
        let pooled = POOL.lock().pop();
        let bytes = pooled.unwrap_or_else(|| vec![0; RELAY_BULK_BYTES].into_boxed_slice());
        Self { bytes, taken: 0..0 }
    }

    /// Whether all that was taken has been given.
    pub fn is_spent(&self) -> bool {
        self.taken.is_empty()
    }

    /// Takes what `reader` has and this can hold, and says how many bytes; 0 when it has ended.
    /// To be called only while [spent](Self::is_spent).
    pub fn poll_refill<R>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
    {
        let room = self.bytes.len();
        self.poll_take(cx, reader, room)
    }

    /// Gives as much as fits.
    pub fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.taken.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[self.taken.start..self.taken.start + count]);
        self.taken.start += count;
    }

    fn poll_take<R>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        room: usize,
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
    {
        let mut buffer = ReadBuf::new(&mut self.bytes[..room]);
        ready!(Pin::new(reader).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.taken = 0..count;
        Poll::Ready(Ok(count))
    }
}

impl<R, W> Carrier<R, W> for Buffer
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    const RAW: bool = false;

    fn acquire(_reader: &Side<R>) -> Option<Self> {
        Some(Self::pooled())
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = self.bytes.len().min(limit);
        self.poll_take(cx, reader, room)
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut Side<W>,
    ) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.taken.clone()];
        let count = ready!(Pin::new(writer).poll_write(cx, rest))?;
        self.taken.start += count;
        Poll::Ready(Ok(count))
    }

    fn is_empty(&self) -> bool {
        self.is_spent()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = POOL.lock();
        if pool.len() < RELAY_BUFFERS_POOLED {
            pool.push(std::mem::take(&mut self.bytes));
        }
    }
}
