//! Both directions of one request, each closed on its own.
//!
//! One task drives both directions. An idle relay holds no buffer: bytes are
//! read onto the stack and written at once; only what the other side does not
//! take is kept, at most [`RELAY_BYTES`] a direction, and nothing more is read
//! from that direction until it is gone. A read that fills the stack is the
//! beginning of bulk: a [`Carrier`] takes over, a pooled buffer or what the network
//! has for it, and goes back when the stream pauses.

mod buffer;
mod side;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::RELAY_BYTES;

pub use buffer::Buffer;
pub use side::{FRAME_BYTES, FRAME_HEADER_BYTES, Frames, Side};

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

/// Carries bulk from one stream to another. Held only while bytes flow: one that is
/// dropped empty goes back to its pool.
pub trait Carrier<R, W>: Sized {
    /// Whether it moves bytes past the frames: then neither side may have any left.
    const RAW: bool;

    /// An empty one; `None` when there is none to be had, and small reads go on.
    fn acquire() -> Option<Self>;

    /// Takes bytes from `reader`, and says how many; 0 when it has ended. Called
    /// only while [empty](Self::is_empty).
    fn poll_fill(&mut self, cx: &mut Context<'_>, reader: &mut Side<R>) -> Poll<io::Result<usize>>;

    /// Gives `writer` what it takes, and says how many bytes that were. Called only
    /// while not [empty](Self::is_empty).
    fn poll_drain(&mut self, cx: &mut Context<'_>, writer: &mut Side<W>)
    -> Poll<io::Result<usize>>;

    /// Whether all that was taken was given.
    fn is_empty(&self) -> bool;
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
    carry_both::<Buffer, A, B, M>(public, backend, meter).await
}

/// As [`copy_both`], with bulk carried by `C`.
///
/// # Errors
/// As [`copy_both`].
pub async fn carry_both<C, A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    meter: &M,
) -> Result<(), RelayError>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let (mut to_backend, mut to_public) = (Direction::<C>::Reading, Direction::<C>::Reading);
    poll_fn(|cx| {
        let sent = to_backend
            .poll(cx, public, backend, |bytes| meter.sent(bytes))
            .map_err(|broken| broken.between(RelayError::Public, RelayError::Backend))?;
        let received = to_public
            .poll(cx, backend, public, |bytes| meter.received(bytes))
            .map_err(|broken| broken.between(RelayError::Backend, RelayError::Public))?;
        if sent.is_ready() && received.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

enum Direction<C> {
    /// Reading, with nothing in hand.
    Reading,
    /// The writer did not take all of this yet.
    Writing(Bytes),
    /// The same, and these are the last bytes.
    Ending(Bytes),
    /// Bulk flowed and paused, and may flow again.
    Paused,
    /// Bulk flows.
    Carrying(C),
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

impl<C> Direction<C> {
    /// Moves what can be moved now; ready once the writer was told of the end.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        writer: &mut Side<W>,
        count: impl Fn(usize),
    ) -> Poll<Result<(), Broken>>
    where
        C: Carrier<R, W>,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self {
                Self::Reading => match read_once(cx, reader, writer, &count) {
                    Poll::Ready(Ok(next)) => *self = next,
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => return flush(cx, writer),
                },
                Self::Paused if C::RAW && !reader.is_raw() => *self = Self::Reading,
                Self::Paused => {
                    if C::RAW {
                        ready!(writer.poll_raw(cx)).map_err(Broken::Writer)?;
                    }
                    *self = C::acquire().map_or(Self::Reading, Self::Carrying);
                }
                Self::Carrying(carrier) if carrier.is_empty() => {
                    match carrier.poll_fill(cx, reader).map_err(Broken::Reader)? {
                        Poll::Ready(0) => *self = Self::Closing,
                        Poll::Ready(_) => {}
                        Poll::Pending => {
                            *self = Self::Paused;
                            return flush(cx, writer);
                        }
                    }
                }
                Self::Carrying(carrier) => {
                    match ready!(carrier.poll_drain(cx, writer)).map_err(Broken::Writer)? {
                        0 => {
                            return Poll::Ready(Err(Broken::Writer(
                                io::ErrorKind::WriteZero.into(),
                            )));
                        }
                        written => count(written),
                    }
                }
                Self::Writing(rest) => {
                    ready!(write_rest(cx, writer, rest, &count))?;
                    *self = Self::Reading;
                }
                Self::Ending(rest) => {
                    ready!(write_rest(cx, writer, rest, &count))?;
                    *self = Self::Closing;
                }
                Self::Closing => {
                    match ready!(Pin::new(&mut *writer).poll_shutdown(cx)) {
                        Ok(()) => {}
                        // The other end is gone for good. If that was a reset, the
                        // direction that reads from it says so; if it had ended its
                        // own direction before, as a server does that closes under
                        // the last close_notify, nothing was lost that it wanted.
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Poll::Ready(Err(Broken::Writer(error))),
                    }
                    *self = Self::Closed;
                }
                Self::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// A stream that buffers (TLS) must not sit on the tail while its reader pauses.
fn flush<W>(cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Broken>>
where
    W: AsyncWrite + Unpin,
{
    match Pin::new(writer).poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Writer(error))),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe)
}

/// What can be read at once, and the writes that follow from it. The buffer is this
/// function's stack: it costs nothing while the relay waits.
fn read_once<C, R, W>(
    cx: &mut Context<'_>,
    reader: &mut Side<R>,
    writer: &mut Side<W>,
    count: &impl Fn(usize),
) -> Poll<Result<Direction<C>, Broken>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut storage = [MaybeUninit::uninit(); RELAY_BYTES];
    let mut buffer = ReadBuf::uninit(&mut storage);
    let after = ready!(read_all(cx, reader, &mut buffer)).map_err(Broken::Reader)?;
    let mut rest = buffer.filled();
    let is_bulk = buffer.remaining() == 0;
    while !rest.is_empty() {
        let written = match after {
            // The end goes with the last bytes.
            After::End => writer.poll_write_last(cx, rest).map_err(Broken::Writer)?,
            _ => write_some(cx, writer, rest)?,
        };
        match written {
            Poll::Ready(0) => {
                return Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into())));
            }
            Poll::Ready(written) => {
                count(written);
                rest = &rest[written..];
            }
            Poll::Pending => {
                let rest = Bytes::copy_from_slice(rest);
                return Poll::Ready(Ok(match after {
                    After::More => Direction::Writing(rest),
                    After::End => Direction::Ending(rest),
                    After::Failure(error) => return Poll::Ready(Err(Broken::Reader(error))),
                }));
            }
        }
    }
    Poll::Ready(match after {
        After::More if is_bulk => Ok(Direction::Paused),
        After::More => Ok(Direction::Reading),
        After::End => Ok(Direction::Closing),
        After::Failure(error) => Err(Broken::Reader(error)),
    })
}

/// What follows on bytes that were read.
enum After {
    /// More, perhaps.
    More,
    /// The end of the direction.
    End,
    /// Nothing, for the stream broke behind them.
    Failure(io::Error),
}

/// Reads until `buffer` is full or nothing more is there. Ready once there is
/// anything.
fn read_all<R>(
    cx: &mut Context<'_>,
    reader: &mut R,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<After>>
where
    R: AsyncRead + Unpin,
{
    loop {
        let before = buffer.filled().len();
        let after = match Pin::new(&mut *reader).poll_read(cx, buffer) {
            Poll::Pending if before == 0 => return Poll::Pending,
            Poll::Pending => After::More,
            Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => After::Failure(error),
            Poll::Ready(Ok(())) if buffer.filled().len() == before => After::End,
            Poll::Ready(Ok(())) if buffer.remaining() > 0 => continue,
            Poll::Ready(Ok(())) => After::More,
        };
        return Poll::Ready(Ok(after));
    }
}

fn write_rest<W>(
    cx: &mut Context<'_>,
    writer: &mut W,
    rest: &mut Bytes,
    count: &impl Fn(usize),
) -> Poll<Result<(), Broken>>
where
    W: AsyncWrite + Unpin,
{
    while rest.has_remaining() {
        let written = ready!(write_some(cx, writer, rest))?;
        count(written);
        rest.advance(written);
    }
    Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests;
