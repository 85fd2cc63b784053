//! A stream at a client's own pace, for a library that reads and writes it itself, and what
//! has become of it meanwhile.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::pace::{BETWEEN_BYTES, CHUNK, Cuts, sip};

/// What was heard on a stream.
#[derive(Debug, Default)]
pub(super) struct Signs {
    heard: Cell<bool>,
    over: Cell<Option<Over>>,
}

/// How a stream is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Over {
    /// The other end has closed its direction.
    Ended,
    /// It has failed.
    Failed(io::ErrorKind),
}

impl Signs {
    /// Whether anything has come.
    pub(super) fn heard(&self) -> bool {
        self.heard.get()
    }

    /// How it is over, if it is.
    pub(super) fn over(&self) -> Option<Over> {
        self.over.get()
    }
}

/// A stream that is read and written at a pace.
pub(super) struct Paced<S> {
    inner: S,
    rate: Option<u64>,
    cuts: Cuts,
    /// Pieces so far.
    pieces: u64,
    before_reading: Pause,
    before_writing: Pause,
    signs: Rc<Signs>,
}

impl<S> Paced<S> {
    /// One that is read without limit if `rate` is `None`, and written in such pieces.
    pub(super) fn new(inner: S, rate: Option<u64>, cuts: Cuts) -> Self {
        Self {
            inner,
            rate,
            cuts,
            pieces: 0,
            before_reading: Pause::default(),
            before_writing: Pause::default(),
            signs: Rc::default(),
        }
    }

    /// What is heard on it.
    pub(super) fn signs(&self) -> Rc<Signs> {
        self.signs.clone()
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

/// A pause, while there is one.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn begin(&mut self, time: Duration) {
        self.0 = Some(Box::pin(sleep(time)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.before_reading.poll(cx));
        let mut storage = [0; CHUNK];
        let most = sip(this.rate).min(buf.remaining());
        let mut part = ReadBuf::new(&mut storage[..most]);
        let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part));
        match (&read, part.filled()) {
            (Err(error), _) => this.signs.over.set(Some(Over::Failed(error.kind()))),
            (Ok(()), []) => this.signs.over.set(Some(Over::Ended)),
            (Ok(()), bytes) => {
                this.signs.heard.set(true);
                buf.put_slice(bytes);
                if let Some(rate) = this.rate {
                    let time = Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64);
                    this.before_reading.begin(time);
                }
            }
        }
        Poll::Ready(read)
    }
}

/// A failed write alone is no end: what can still be read may say more.
impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.before_writing.poll(cx));
        let piece = &buf[..this.cuts.piece(this.pieces).min(buf.len())];
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, piece));
        if !matches!(this.cuts, Cuts::None) {
            this.pieces += 1;
            this.before_writing.begin(BETWEEN_BYTES);
        }
        Poll::Ready(Ok(written.unwrap_or(buf.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        Poll::Ready(Ok(()))
    }
}
