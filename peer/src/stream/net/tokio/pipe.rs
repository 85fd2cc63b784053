//! Bulk without copying: `splice(2)` from socket to socket through pooled pipes.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::limits::{PIPE_BYTES, PIPES_POOLED};
use crate::lock::Lock;
use crate::stream::relay::{Carrier, Side};

static POOL: Lock<Vec<Ends>> = Lock::new("the pool of pipes", Vec::new());

/// A pipe that holds no bytes.
#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        Ok(Self { read, write })
    }
}

/// A pipe on loan from a pool of the process.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Present until dropped.
    ends: Option<Ends>,
    /// Bytes in the pipe.
    held: usize,
}

impl Pipe {
    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("a pipe has its ends until it is dropped")
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Carrier<&mut TcpStream, &mut TcpStream> for Pipe {
    const RAW: bool = true;

    fn acquire(_reader: &Side<&mut TcpStream>) -> Option<Self> {
        let pooled = POOL.lock().pop();
        // Without descriptors for a pipe, bytes are copied.
        let ends = pooled.or_else(|| Ends::open().ok())?;
        Some(Self { ends: Some(ends), held: 0 })
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<&mut TcpStream>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let most = PIPE_BYTES.min(limit);
        let reader = &*reader.stream;
        loop {
            ready!(reader.poll_read_ready(cx))?;
            let pipe = &self.ends().write;
            // The pipe is empty: only the socket can be what would block.
            let spliced = reader
                .try_io(Interest::READABLE, || Ok(splice(reader, None, pipe, None, most, FLAGS)?));
            match spliced {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    self.held = count;
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut Side<&mut TcpStream>,
    ) -> Poll<io::Result<usize>> {
        let writer = &*writer.stream;
        loop {
            ready!(writer.poll_write_ready(cx))?;
            let pipe = &self.ends().read;
            // The pipe is not empty: only the socket can be what would block.
            let spliced = writer.try_io(Interest::WRITABLE, || {
                Ok(splice(pipe, None, writer, None, self.held, FLAGS)?)
            });
            match spliced {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    self.held -= count;
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.held == 0
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Bytes of one request must not turn up in another.
        if self.held > 0 {
            return;
        }
        let mut pool = POOL.lock();
        if pool.len() < PIPES_POOLED {
            pool.extend(self.ends.take());
        }
    }
}
