//! Bulk past the frames, as `splice(2)` carries it from socket to socket.
//!
//! It takes and gives as little as the two streams do, which are under a schedule. With one,
//! some hosts have small pipes, and now and then there is none to be had.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ops_proxy::stream::relay::{Carrier, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fabric::Fabric;
use super::stream::SimStream;

/// A pipe on loan, from one stream to another.
#[derive(Debug)]
pub(super) struct SimPipe {
    bytes: Box<[u8]>,
    /// What is in it.
    held: Range<usize>,
    fabric: Fabric,
}

impl SimPipe {
    fn failed(&self, error: io::Error) -> io::Error {
        self.fabric.state().counters.bulk.failed += 1;
        error
    }
}

impl Carrier<&mut SimStream, &mut SimStream> for SimPipe {
    const RAW: bool = true;

    fn acquire(reader: &Side<&mut SimStream>) -> Option<Self> {
        let fabric = reader.stream.fabric().clone();
        let Some(capacity) = reader.stream.pipe_bytes() else {
            fabric.state().counters.bulk.refused += 1;
            return None;
        };
        fabric.state().counters.bulk.lent += 1;
        Some(Self { bytes: vec![0; capacity].into_boxed_slice(), held: 0..0, fabric })
    }

    /// Past the frames: whatever the connection has is taken for the request's.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<&mut SimStream>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = self.bytes.len().min(limit);
        let mut buffer = ReadBuf::new(&mut self.bytes[..room]);
        let read = ready!(Pin::new(&mut *reader.stream).poll_read(cx, &mut buffer));
        let count = buffer.filled().len();
        self.held = 0..count;
        Poll::Ready(read.map(|()| count).map_err(|error| self.failed(error)))
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut Side<&mut SimStream>,
    ) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.held.clone()];
        let written = ready!(Pin::new(&mut *writer.stream).poll_write(cx, rest));
        let count = written.map_err(|error| self.failed(error))?;
        self.held.start += count;
        Poll::Ready(Ok(count))
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

impl Drop for SimPipe {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.fabric.state().counters.bulk.spilt += 1;
        }
    }
}
