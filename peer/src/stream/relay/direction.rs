//! One direction of a relay, to its end.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::meter::RelayError;
use super::side::Side;
use crate::limits::RELAY_BYTES;

pub(super) enum Direction<C> {
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
pub(super) enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Broken {
    pub(super) fn between(
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
    pub(super) fn poll<R, W>(
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
                Self::Reading => match read_once(cx, reader, writer, &count)? {
                    Some(next) => *self = next,
                    None => return flush(cx, writer),
                },
                Self::Paused if C::RAW && !reader.is_raw() => *self = Self::Reading,
                Self::Paused => {
                    if C::RAW {
                        ready!(writer.poll_raw(cx)).map_err(Broken::Writer)?;
                    }
                    *self = C::acquire(reader).map_or(Self::Reading, Self::Carrying);
                }
                Self::Carrying(carrier) if carrier.is_empty() => {
                    match carrier.poll_fill(cx, reader, usize::MAX).map_err(Broken::Reader)? {
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
                    ready!(shut_down(cx, writer))?;
                    *self = Self::Closed;
                }
                Self::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Tells the writer of the end.
///
/// # Errors
/// As [`poll_shutdown`](AsyncWrite::poll_shutdown), unless the other end is gone.
pub(super) fn shut_down<W>(cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Broken>>
where
    W: AsyncWrite + Unpin,
{
    match ready!(Pin::new(writer).poll_shutdown(cx)) {
        Ok(()) => Poll::Ready(Ok(())),
        // The other end is gone for good. If that was a reset, the direction that reads from
        // it says so; if it had ended its own direction before, as a server does that closes
        // under the last close_notify, nothing was lost that it wanted.
        Err(error) if is_gone(&error) => Poll::Ready(Ok(())),
        Err(error) => Poll::Ready(Err(Broken::Writer(error))),
    }
}

/// A stream that buffers (TLS) must not keep the last bytes while its source pauses.
pub(super) fn flush<W>(cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Broken>>
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

/// Reads what is available at once, and writes it; nothing more is to be done before the
/// task is woken, or this is what to go on with. The buffer is on this function's stack: it
/// costs nothing while the relay waits.
fn read_once<C, R, W>(
    cx: &mut Context<'_>,
    reader: &mut Side<R>,
    writer: &mut Side<W>,
    count: &impl Fn(usize),
) -> Result<Option<Direction<C>>, Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut storage = [MaybeUninit::uninit(); RELAY_BYTES];
    let mut buffer = ReadBuf::uninit(&mut storage);
    let after = match read_all(cx, reader, &mut buffer) {
        Poll::Ready(after) => after.map_err(Broken::Reader)?,
        Poll::Pending => return Ok(None),
    };
    let mut rest = buffer.filled();
    while !rest.is_empty() {
        let written = match after {
            // The end goes with the last bytes.
            After::End => writer.poll_write_last(cx, rest).map_err(Broken::Writer)?,
            _ => write_some(cx, writer, rest)?,
        };
        match written {
            Poll::Ready(0) => {
                return Err(Broken::Writer(io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(written) => {
                count(written);
                rest = &rest[written..];
            }
            Poll::Pending => {
                let rest = Bytes::copy_from_slice(rest);
                return match after {
                    After::Bulk | After::Pause => Ok(Some(Direction::Writing(rest))),
                    After::End => Ok(Some(Direction::Ending(rest))),
                    After::Failure(error) => Err(Broken::Reader(error)),
                };
            }
        }
    }
    match after {
        After::Bulk => Ok(Some(Direction::Paused)),
        After::Pause => Ok(None),
        After::End => Ok(Some(Direction::Closing)),
        After::Failure(error) => Err(Broken::Reader(error)),
    }
}

/// What to do after bytes were read.
pub(super) enum After {
    /// More, for the buffer is full.
    Bulk,
    /// Nothing now: the task is woken when there is more.
    Pause,
    /// The end of the direction.
    End,
    /// Nothing: the stream failed after them.
    Failure(io::Error),
}

/// Reads until `buffer` is full or no more is available. Ready once there is
/// anything.
pub(super) fn read_all<R>(
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
            Poll::Pending => After::Pause,
            Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => After::Failure(error),
            Poll::Ready(Ok(())) if buffer.filled().len() == before => After::End,
            Poll::Ready(Ok(())) if buffer.remaining() > 0 => continue,
            Poll::Ready(Ok(())) => After::Bulk,
        };
        return Poll::Ready(Ok(after));
    }
}

pub(super) fn write_rest<W>(
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

pub(super) fn write_some<W>(
    cx: &mut Context<'_>,
    writer: &mut W,
    bytes: &[u8],
) -> Poll<Result<usize, Broken>>
where
    W: AsyncWrite + Unpin,
{
    match ready!(Pin::new(writer).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into()))),
        Ok(written) => Poll::Ready(Ok(written)),
        Err(error) => Poll::Ready(Err(Broken::Writer(error))),
    }
}
