//! Both directions of one request, each closed on its own.
//!
//! One task drives both directions. An idle relay holds no buffer: bytes are
//! read onto the stack and written at once; only what the other side does not
//! take is kept, at most [`RELAY_BYTES`] a direction, and nothing more is read
//! from that direction until it is gone.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::RELAY_BYTES;

/// One end of a relay: the stream, and what was read from it before the relay
/// began.
#[derive(Debug)]
pub struct Side<S> {
    /// The connection.
    pub stream: S,
    /// Bytes already read from `stream`; they go to the other side first.
    pub read_ahead: Bytes,
}

/// Is told of payload bytes as they are written, not when the relay ends.
pub trait Meter: Sync {
    /// `bytes` went from the public client to the backend.
    fn sent(&self, bytes: usize);
    /// `bytes` went from the backend to the public client.
    fn received(&self, bytes: usize);
}

/// The stream that broke a relay, and how.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The public client's connection failed.
    #[error("public connection: {0}")]
    Public(#[source] io::Error),
    /// The backend's, or the DATA connection's.
    #[error("backend connection: {0}")]
    Backend(#[source] io::Error),
}

/// Copies both ways until both directions have ended cleanly. The end of one
/// direction is passed on as a half-close while the other goes on.
///
/// # Errors
/// The first failure of either stream; both are then to be aborted, so that
/// neither end takes a cut for a clean end.
pub async fn copy_both<A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    meter: &M,
) -> Result<(), RelayError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let mut to_backend = Direction::starting_with(std::mem::take(&mut public.read_ahead));
    let mut to_public = Direction::starting_with(std::mem::take(&mut backend.read_ahead));
    poll_fn(|cx| {
        let sent = to_backend
            .poll(cx, &mut public.stream, &mut backend.stream, |bytes| meter.sent(bytes))
            .map_err(|broken| broken.between(RelayError::Public, RelayError::Backend))?;
        let received = to_public
            .poll(cx, &mut backend.stream, &mut public.stream, |bytes| meter.received(bytes))
            .map_err(|broken| broken.between(RelayError::Backend, RelayError::Public))?;
        if sent.is_ready() && received.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

enum Direction {
    /// Reading, with nothing in hand.
    Reading,
    /// The writer did not take all of this yet.
    Writing(Bytes),
    /// The reader has ended; the writer is being told.
    Closing,
    Closed,
}

/// Which end of a direction failed.
enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Broken {
    fn between(
        self,
        reader: fn(io::Error) -> RelayError,
        writer: fn(io::Error) -> RelayError,
    ) -> RelayError {
        match self {
            Self::Reader(error) => reader(error),
            Self::Writer(error) => writer(error),
        }
    }
}

impl Direction {
    fn starting_with(read_ahead: Bytes) -> Self {
        if read_ahead.is_empty() { Self::Reading } else { Self::Writing(read_ahead) }
    }

    /// Moves what can be moved now; ready once the writer was told of the end.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: impl Fn(usize),
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self {
                Self::Reading => match read_once(cx, reader, writer, &count) {
                    Poll::Ready(Ok(next)) => *self = next,
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => {
                        // A stream that buffers (TLS) must not sit on the tail.
                        if let Poll::Ready(Err(error)) = Pin::new(writer).poll_flush(cx) {
                            return Poll::Ready(Err(Broken::Writer(error)));
                        }
                        return Poll::Pending;
                    }
                },
                Self::Writing(rest) => {
                    while rest.has_remaining() {
                        let written = ready!(write_some(cx, writer, rest))?;
                        count(written);
                        rest.advance(written);
                    }
                    *self = Self::Reading;
                }
                Self::Closing => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Broken::Writer)?;
                    *self = Self::Closed;
                }
                Self::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// One read, and the writes that follow from it. The buffer is this function's
/// stack: it costs nothing while the relay waits.
fn read_once<R, W>(
    cx: &mut Context<'_>,
    reader: &mut R,
    writer: &mut W,
    count: &impl Fn(usize),
) -> Poll<Result<Direction, Broken>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut storage = [MaybeUninit::uninit(); RELAY_BYTES];
    let mut buffer = ReadBuf::uninit(&mut storage);
    ready!(Pin::new(reader).poll_read(cx, &mut buffer)).map_err(Broken::Reader)?;
    let mut rest = buffer.filled();
    if rest.is_empty() {
        return Poll::Ready(Ok(Direction::Closing));
    }
    while !rest.is_empty() {
        match write_some(cx, writer, rest)? {
            Poll::Ready(written) => {
                count(written);
                rest = &rest[written..];
            }
            Poll::Pending => {
                return Poll::Ready(Ok(Direction::Writing(Bytes::copy_from_slice(rest))));
            }
        }
    }
    Poll::Ready(Ok(Direction::Reading))
}

fn write_some<W>(cx: &mut Context<'_>, writer: &mut W, bytes: &[u8]) -> Poll<Result<usize, Broken>>
where
    W: AsyncWrite + Unpin,
{
    match ready!(Pin::new(writer).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into()))),
        Ok(written) => Poll::Ready(Ok(written)),
        Err(error) => Poll::Ready(Err(Broken::Writer(error))),
    }
}
