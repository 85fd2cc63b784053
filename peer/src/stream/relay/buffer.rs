//! Bulk by copying, through pooled buffers that are larger than a stack read.

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

impl<R, W> Carrier<R, W> for Buffer
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    const RAW: bool = false;

    fn acquire(_reader: &Side<R>) -> Option<Self> {
        let pooled = POOL.lock().pop();
        let bytes = pooled.unwrap_or_else(|| vec![0; RELAY_BULK_BYTES].into_boxed_slice());
        Some(Self { bytes, taken: 0..0 })
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = self.bytes.len().min(limit);
        let mut buffer = ReadBuf::new(&mut self.bytes[..room]);
        ready!(Pin::new(reader).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.taken = 0..count;
        Poll::Ready(Ok(count))
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
        self.taken.is_empty()
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
