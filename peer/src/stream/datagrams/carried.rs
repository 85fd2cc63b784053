//! The end of a request over UDP that a DATA connection leads to.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::end::{DatagramEnd, Given};
use crate::limits::RELAY_BYTES;
use crate::stream::net::Net;
use crate::stream::relay::{Side, Unacknowledged};
use crate::stream::transport::Transport;
use crate::wire::datagrams::{DATAGRAM_HEADER_BYTES, Ended, Unit, front, measure, put_end};

/// A DATA connection, as one end of a request over UDP.
pub struct CarriedEnd<'a, N: Net> {
    net: &'a N,
    /// Only ever held for one poll: both directions run in one task.
    state: Mutex<State<'a, N>>,
}

struct State<'a, N: Net> {
    data: &'a mut Side<Transport<N::Stream>>,
    /// The beginning of a datagram that is not whole yet.
    partial: BytesMut,
    /// The other end has said that no more follow.
    ended: Option<Ended>,
}

impl<'a, N: Net> CarriedEnd<'a, N> {
    /// Nothing of the request was read yet.
    pub fn new(net: &'a N, data: &'a mut Side<Transport<N::Stream>>) -> Self {
        Self { net, state: Mutex::new(State { data, partial: BytesMut::new(), ended: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<'a, N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: Net> State<'_, N> {
    /// Reads some bytes behind the partial datagram; whether the direction has ended instead.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // On the stack of the poll: a request that is idle holds no buffer.
        let mut storage = [MaybeUninit::uninit(); RELAY_BYTES];
        let mut buffer = ReadBuf::uninit(&mut storage);
        ready!(Pin::new(&mut *self.data).poll_read(cx, &mut buffer))?;
        self.partial.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().is_empty()))
    }

    /// Moves whole datagrams to `into`, or notes that the end stands before any.
    fn look(&mut self, into: &mut BytesMut) -> io::Result<()> {
        let mut whole = 0;
        loop {
            let unit = front(&self.partial[whole..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match unit {
                Some(Unit::Datagram(datagram)) => whole += DATAGRAM_HEADER_BYTES + datagram.len(),
                Some(Unit::Ended(ended)) if whole == 0 => {
                    self.ended = Some(ended);
                    self.partial.advance(DATAGRAM_HEADER_BYTES);
                    break;
                }
                Some(Unit::Ended(_)) | None => break,
            }
        }
        if whole > 0 {
            into.unsplit(self.partial.split_to(whole));
        }
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        Ok(())
    }
}

impl<N: Net> DatagramEnd for CarriedEnd<'_, N> {
    const SAYS_ITS_END: bool = true;

    async fn take(&self, into: &mut BytesMut) -> io::Result<Option<Ended>> {
        loop {
            {
                let mut state = self.state();
                if state.ended.is_none() {
                    state.look(into)?;
                }
                if !into.is_empty() {
                    return Ok(None);
                }
                if state.ended.is_some() && !state.partial.is_empty() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            if poll_fn(|cx| self.state().poll_more(cx)).await? {
                // Whoever ends a request over UDP says so first; else it was cut.
                let ended = self.state().ended.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok(Some(ended));
            }
        }
    }

    async fn give(&self, datagrams: &[u8]) -> io::Result<Given> {
        let mut stream = Written(self);
        stream.write_all(datagrams).await?;
        stream.flush().await?;
        Ok(Given { bytes: measure(datagrams).bytes, lost: 0 })
    }

    async fn end(&self, ended: Ended) -> io::Result<()> {
        let mut mark = BytesMut::new();
        put_end(ended, &mut mark);
        while !mark.is_empty() {
            let written = poll_fn(|cx| self.state().data.poll_write_last(cx, &mark)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            mark.advance(written);
        }
        Written(self).shutdown().await
    }

    fn unacknowledged(&self) -> Option<Unacknowledged> {
        self.net.unacknowledged(self.state().data.stream.inner())
    }
}

/// Writes to the stream, for as long as a poll takes at a time.
struct Written<'a, 'b, N: Net>(&'a CarriedEnd<'b, N>);

impl<N: Net> AsyncWrite for Written<'_, '_, N> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.state().data).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.state().data).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.state().data).poll_shutdown(cx)
    }
}
