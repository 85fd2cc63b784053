//! A control connection as lines, in both directions at once.
//!
//! One task reads and writes. A peer that stops reading can still be read from, and a
//! line that it does not accept is noticed at its deadline.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use crate::limits::{LINK_OUTPUT_BYTES, WRITE_TIMEOUT};
use crate::stream::lingering::close_after;
use crate::wire::{ErrorCode, Line, LineBuffer, WireError};

/// A connection that carries protocol lines.
#[derive(Debug)]
pub struct Control<S> {
    stream: S,
    input: LineBuffer,
    output: BytesMut,
    /// Total bytes queued, accepted by the stream, and accepted by the network under
    /// it: TLS has a buffer in between.
    queued: u64,
    taken: u64,
    written: u64,
    /// When the output last shrank, or began to wait.
    progress: Instant,
}

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A line arrived.
    Line(Line),
    /// Output up to this position has been written.
    Written(u64),
    /// The other end has closed.
    Ended,
}

/// The connection cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The other end broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Control<S> {
    /// Lines over `stream`, after what has already been read.
    pub fn new(stream: S, input: LineBuffer) -> Self {
        Self {
            stream,
            input,
            output: BytesMut::new(),
            queued: 0,
            taken: 0,
            written: 0,
            progress: Instant::now(),
        }
    }

    /// Queues a line and returns the position at which it ends. It is written by
    /// [`event`](Self::event).
    pub fn queue(&mut self, line: &Line) -> u64 {
        if self.is_written() {
            self.progress = Instant::now();
        }
        let before = self.output.len();
        self.output.extend_from_slice(format!("{line}\n").as_bytes());
        self.queued += (self.output.len() - before) as u64;
        self.queued
    }

    /// Whether the output is too far behind to queue requests on it.
    pub fn is_congested(&self) -> bool {
        self.output.len() >= LINK_OUTPUT_BYTES
    }

    /// When the other end will have accepted nothing for too long.
    pub fn stalled_at(&self) -> Option<Instant> {
        (!self.is_written()).then(|| self.progress + WRITE_TIMEOUT)
    }

    fn is_written(&self) -> bool {
        self.written == self.queued
    }

    /// The next event. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`ControlError`]; after it, only [`refuse`](Self::refuse) may be called.
    pub async fn event(&mut self) -> Result<Event, ControlError> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Tells the other end why the connection ends, if it still reads, and closes
    /// it.
    pub async fn refuse(mut self, code: ErrorCode, text: &str) {
        self.queue(&Line::Error(code, text.to_owned()));
        close_after(self.stream, &self.output).await;
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ControlError>> {
        loop {
            // A peer that does not accept our answers is not read from.
            if !self.is_congested()
                && let Some(line) = self.input.next_line()?
            {
                return Poll::Ready(Ok(Event::Line(Line::parse(&line)?)));
            }
            if !self.is_written()
                && let Poll::Ready(written) = self.poll_write(cx)
            {
                return Poll::Ready(Ok(Event::Written(written?)));
            }
            if self.is_congested() {
                return Poll::Pending;
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Ok(Event::Ended));
            }
        }
    }

    /// Ready once everything the stream accepted has also reached the network.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        while !self.output.is_empty() {
            let Poll::Ready(count) = Pin::new(&mut self.stream).poll_write(cx, &self.output)?
            else {
                break;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(count);
            self.taken += count as u64;
            self.progress = Instant::now();
        }
        if self.output.is_empty() {
            // Free the empty buffer: idle links hold none.
            self.output = BytesMut::new();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.written == self.taken {
            return Poll::Pending;
        }
        self.written = self.taken;
        self.progress = Instant::now();
        Poll::Ready(Ok(self.written))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        read_onto_stack(cx, &mut self.stream, |bytes| self.input.push(bytes))
    }
}

/// Most bytes of one read.
const READ_BYTES: usize = 4 * 1024;

/// One read onto this function's stack, so that waiting holds no buffer. Ready with 0
/// when the stream has ended.
fn read_onto_stack<S>(
    cx: &mut Context<'_>,
    stream: &mut S,
    mut take: impl FnMut(&[u8]),
) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    let mut storage = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut storage);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    take(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Reads what is available and appends it; 0 when the stream has ended. Nothing is
/// allocated before the first byte. Cancel safe.
///
/// # Errors
/// Those of the stream's own read.
pub async fn read_more<S>(stream: &mut S, bytes: &mut BytesMut) -> io::Result<usize>
where
    S: AsyncRead + Unpin,
{
    poll_fn(|cx| read_onto_stack(cx, stream, |read| bytes.extend_from_slice(read))).await
}

/// Reads the first line of a peer connection; `lines` may already contain part of it.
///
/// # Errors
/// [`ControlError::Wire`] for a line over its limit, [`ControlError::Io`] when
/// the stream ends before the line does.
pub async fn first_line<S>(stream: &mut S, lines: &mut LineBuffer) -> Result<Bytes, ControlError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(line) = lines.next_line()? {
            return Ok(line);
        }
        let count = poll_fn(|cx| read_onto_stack(cx, stream, |read| lines.push(read))).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Writes one line to a connection that carries no others meanwhile, within
/// [`WRITE_TIMEOUT`].
///
/// # Errors
/// The stream's own, or [`TimedOut`](io::ErrorKind::TimedOut).
pub async fn write_line<S>(stream: &mut S, line: &Line) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let line = format!("{line}\n");
    let writing = async {
        stream.write_all(line.as_bytes()).await?;
        stream.flush().await
    };
    timeout(WRITE_TIMEOUT, writing).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, BufWriter, DuplexStream, duplex};

    use super::*;

    /// A buffer before the network, as TLS has one.
    fn buffered(pipe_bytes: usize) -> (Control<BufWriter<DuplexStream>>, DuplexStream) {
        let (near, far) = duplex(pipe_bytes);
        (Control::new(BufWriter::new(near), LineBuffer::default()), far)
    }

    #[tokio::test]
    async fn what_a_buffer_took_is_not_written_until_the_network_took_it() {
        let (mut control, mut far) = buffered(2);
        let end = control.queue(&Line::Ok(12));
        tokio::select! {
            biased;
            event = control.event() => panic!("{event:?} although nobody read"),
            () = tokio::task::yield_now() => {}
        }
        assert!(control.stalled_at().is_some(), "it waits for who does not read");
        let mut line = [0; 6];
        let (event, read) = tokio::join!(control.event(), far.read_exact(&mut line));
        assert_eq!(event.unwrap(), Event::Written(end));
        read.unwrap();
        assert_eq!(&line, b"OK:12\n");
        assert!(control.stalled_at().is_none());
    }

    #[tokio::test]
    async fn lines_come_while_the_other_end_does_not_read() {
        let (mut control, mut far) = buffered(8);
        control.queue(&Line::Ok(1_000_000_000));
        tokio::io::AsyncWriteExt::write_all(&mut far, b"OK:1\n").await.unwrap();
        assert_eq!(control.event().await.unwrap(), Event::Line(Line::Ok(1)));
    }
}
