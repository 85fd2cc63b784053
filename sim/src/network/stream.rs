//! One end of a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use ops_proxy::limits::PIPE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use super::fabric::Fabric;
use super::schedule::Schedule;
use crate::connection::{End, Pair};
use crate::trace::What;

/// A read that is cut short gives fewer bytes: it ends within a head, or within a line.
const SHORT_READ_BYTES: usize = 256;

/// What a peer reads ahead of itself at most to see a reset behind it.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// One end of a connection on the simulated network.
#[derive(Debug)]
pub struct SimStream {
    /// Taken when this is dropped, and never before.
    inner: Option<TcpStream>,
    fabric: Fabric,
    pair: Pair,
    end: End,
    /// The end of the other's direction was seen.
    ended: bool,
    /// What was read ahead to see whether a reset comes behind it.
    ahead: Ahead,
    /// Who says when it gives and takes how much; without one, it does all at once.
    schedule: Option<Schedule>,
}

/// What was read ahead of its reader. A kernel knows of a reset without that.
#[derive(Debug, Default)]
struct Ahead {
    bytes: BytesMut,
    /// Nothing more comes.
    ended: bool,
}

impl SimStream {
    /// This end of a connection that was just made.
    pub(super) fn new(inner: TcpStream, fabric: &Fabric, pair: Pair, end: End) -> Self {
        Self {
            inner: Some(inner),
            fabric: fabric.clone(),
            pair,
            end,
            ended: false,
            ahead: Ahead::default(),
            schedule: None,
        }
    }

    /// The same, under a schedule.
    pub(super) fn under(mut self, schedule: Option<Schedule>) -> Self {
        self.schedule = schedule;
        self
    }

    /// Whether this turn is lost; the task is woken for the next.
    fn loses_turn(&self, cx: &mut Context<'_>) -> bool {
        let lost = self.schedule.as_ref().is_some_and(Schedule::loses_turn);
        if lost {
            cx.waker().wake_by_ref();
        }
        lost
    }

    fn cut(&self, bytes: usize) -> Option<usize> {
        self.schedule.as_ref()?.cut(bytes)
    }

    /// What all hosts share.
    pub(super) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// How many bytes a pipe holds that carries its bulk; `None` while there is none to be had.
    pub(super) fn pipe_bytes(&self) -> Option<usize> {
        self.schedule.as_ref().map_or(Some(PIPE_BYTES), Schedule::pipe_bytes)
    }

    /// Reads what is there, or as much of it as fits.
    fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !self.take_ahead(buffer) {
            ready!(self.inner().poll_read(cx, buffer))?;
            self.gather(cx, buffer, before);
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go with a reset.
    pub(super) fn abort(self) {
        self.fabric.state().closed(self.pair, self.end, true);
    }

    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.as_mut().expect("it is taken when this is dropped"))
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let mut state = self.fabric.state();
        if let Some(conn) = state.ledger.id(self.pair) {
            let error = error.kind().to_string();
            state.event(self.ip(), What::Failed { conn, end: self.end, error });
            state.saw_end(self.pair, self.end);
        }
        error
    }

    /// This end.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.pair.addr(self.end)
    }

    /// The other end.
    pub(super) fn peer_addr(&self) -> SocketAddr {
        self.pair.addr(self.end.other())
    }

    /// Ready once the other end has reset the connection.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ahead.ended && self.ahead.bytes.len() < READ_AHEAD_BYTES {
            let alive = self.fabric.state().ledger.check_read(self.pair, self.end, cx.waker());
            if alive.is_err() {
                return Poll::Ready(());
            }
            let mut storage = [0; 4096];
            let mut buffer = ReadBuf::new(&mut storage);
            match ready!(self.inner().poll_read(cx, &mut buffer)) {
                Err(_) => return Poll::Ready(()),
                Ok(()) if buffer.filled().is_empty() => {
                    if self.fabric.state().ledger.end_is_reset(self.pair, self.end) {
                        return Poll::Ready(());
                    }
                    self.ahead.ended = true;
                }
                Ok(()) => self.ahead.bytes.extend_from_slice(buffer.filled()),
            }
        }
        Poll::Pending
    }

    /// Takes what was read ahead; false when nothing was.
    fn take_ahead(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = self.ahead.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.bytes.split_to(count));
        count > 0 || self.ahead.ended
    }

    fn ip(&self) -> IpAddr {
        self.pair.addr(self.end).ip()
    }

    /// turmoil gives one segment a read, however many have come; a kernel gives
    /// all. Every other connection is read as by a kernel, the rest finely cut.
    fn gather(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, before: usize) {
        let mut filled = before;
        while buffer.filled().len() > filled
            && buffer.remaining() > 0
            && self.pair.dialler.port().is_multiple_of(2)
        {
            filled = buffer.filled().len();
            // An end or an error stays for the next read.
            let _ = self.inner().poll_read(cx, buffer);
        }
    }

    /// Takes note of a read; an end that is a reset becomes an error.
    fn was_read(&mut self, bytes: usize) -> io::Result<()> {
        let mut state = self.fabric.state();
        if bytes > 0 {
            state.ledger.read(self.pair, self.end, bytes);
        } else if state.ledger.end_is_reset(self.pair, self.end) && !self.ended {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(conn) = state.ledger.id(self.pair) else { return Ok(()) };
        let (ip, end) = (self.pair.addr(self.end).ip(), self.end);
        if bytes > 0 {
            state.forwards.read(conn, end, bytes);
            state.event(ip, What::Read { conn, end, bytes });
        } else if !std::mem::replace(&mut self.ended, true) {
            state.event(ip, What::SawEnd { conn, end });
            state.saw_end(self.pair, end);
        }
        Ok(())
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let alive = self.fabric.state().ledger.check_read(self.pair, self.end, cx.waker());
        alive.map_err(|error| self.failed(error))?;
        if self.loses_turn(cx) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let mut storage = [0; SHORT_READ_BYTES];
        let polled = match self.cut(buffer.remaining().min(SHORT_READ_BYTES)) {
            None => self.poll_some(cx, buffer),
            Some(bytes) => {
                let mut short = ReadBuf::new(&mut storage[..bytes]);
                let polled = self.poll_some(cx, &mut short);
                buffer.put_slice(short.filled());
                polled
            }
        };
        ready!(polled).map_err(|error| self.failed(error))?;
        let bytes = buffer.filled().len() - before;
        Poll::Ready(self.was_read(bytes).map_err(|error| self.failed(error)))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.fabric.state().ledger.check_write(self.pair, self.end, cx.waker());
        let room = room.map_err(|error| self.failed(error))?;
        if room == 0 {
            return Poll::Pending;
        }
        if self.loses_turn(cx) {
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(room)];
        let bytes = &bytes[..self.cut(bytes.len()).unwrap_or(bytes.len())];
        if self.fabric.state().ledger.is_severed(self.pair, self.end) {
            self.fabric.state().wrote(self.pair, self.end, bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written =
            ready!(self.inner().poll_write(cx, bytes)).map_err(|error| self.failed(error))?;
        self.fabric.state().wrote(self.pair, self.end, &bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.inner().poll_shutdown(cx)) {
            // Shutting down twice is fine on real sockets.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Poll::Ready(Err(self.failed(error))),
            Ok(()) => {
                let mut state = self.fabric.state();
                if let Some(conn) = state.ledger.id(self.pair) {
                    state.event(self.ip(), What::Finished { conn, end: self.end });
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let mut state = self.fabric.state();
        if state.is_torn_down(self.ip()) {
            return state.bury(self.pair, self.end, inner);
        }
        state.closed(self.pair, self.end, false);
        drop(state);
        drop(inner);
    }
}
