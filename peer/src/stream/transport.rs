//! A connection as the peer uses it: in clear text or over TLS.

use std::io::{self, IoSlice};
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::http::Conversation;
use crate::stream::net::Net;
use crate::stream::relay::{
    Ahead, Buffer, Leaving, Meter, Over, RelayError, Side, carry_both, converse,
};

/// A read of a session of TLS that was given so much finds bulk: it asks for no more.
const BULK_READ_BYTES: usize = 4096;

/// A connection over the network stream `S`.
#[derive(Debug)]
pub enum Transport<S> {
    /// Clear text.
    Plain(S),
    /// Inside TLS, with another peer or a public client.
    Tls(Box<TlsStream<Rewound<S>>>),
}

impl<S> Transport<S> {
    /// The certificate of the other end, and those that lead to its CA; none in clear
    /// text.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        let chain = match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.get_ref().1.peer_certificates(),
        };
        chain.unwrap_or_default()
    }

    /// The network's own stream, to look at.
    pub fn inner(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.get_ref().0.stream,
        }
    }

    /// As [`inner`](Self::inner), to wait on.
    pub fn inner_mut(&mut self) -> &mut S {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => match tls.as_mut() {
                TlsStream::Client(tls) => &mut tls.get_mut().0.stream,
                TlsStream::Server(tls) => &mut tls.get_mut().0.stream,
            },
        }
    }

    /// The network's own stream, without its encryption.
    pub fn into_inner(self) -> S {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => match *tls {
                TlsStream::Client(tls) => tls.into_inner().0.stream,
                TlsStream::Server(tls) => tls.into_inner().0.stream,
            },
        }
    }
}

/// Carries bytes both ways: between two cleartext streams by the network's best means,
/// otherwise by copying.
///
/// # Errors
/// Those of [`Net::relay`].
pub async fn relay<N: Net, M: Meter>(
    net: &N,
    public: &mut Side<Transport<N::Stream>>,
    backend: &mut Side<Transport<N::Stream>>,
    meter: &M,
) -> Result<(), RelayError> {
    match (&mut public.stream, &mut backend.stream) {
        (Transport::Plain(public_stream), Transport::Plain(backend_stream)) => {
            let mut bare_public = Side { stream: public_stream, frames: take(&mut public.frames) };
            let mut bare_backend =
                Side { stream: backend_stream, frames: take(&mut backend.frames) };
            let relayed = net.relay(&mut bare_public, &mut bare_backend, meter).await;
            let (of_public, of_backend) = (bare_public.frames, bare_backend.frames);
            (public.frames, backend.frames) = (of_public, of_backend);
            relayed
        }
        _ => {
            let outstanding = |public: &Transport<N::Stream>, backend: &Transport<N::Stream>| {
                [net.unacknowledged(public.inner()), net.unacknowledged(backend.inner())]
            };
            carry_both::<Buffer, _, _, _>(public, backend, meter, Some(outstanding)).await
        }
    }
}

/// Carries an HTTP conversation, by the same means as [`relay`].
///
/// # Errors
/// Those of [`Net::converse`].
pub async fn hold_conversation<N: Net, M: Meter>(
    net: &N,
    public: &mut Side<Transport<N::Stream>>,
    backend: &mut Side<Transport<N::Stream>>,
    ahead: Ahead,
    conversation: &mut Conversation,
    meter: &M,
    leaving: Leaving<'_>,
) -> Result<Over, RelayError> {
    match (&mut public.stream, &mut backend.stream) {
        (Transport::Plain(public_stream), Transport::Plain(backend_stream)) => {
            let mut bare_public = Side { stream: public_stream, frames: take(&mut public.frames) };
            let mut bare_backend =
                Side { stream: backend_stream, frames: take(&mut backend.frames) };
            let ends = (&mut bare_public, &mut bare_backend);
            let over = net.converse(ends.0, ends.1, ahead, conversation, meter, leaving).await;
            let (of_public, of_backend) = (bare_public.frames, bare_backend.frames);
            (public.frames, backend.frames) = (of_public, of_backend);
            over
        }
        _ => {
            let outstanding = |public: &Transport<N::Stream>, backend: &Transport<N::Stream>| {
                [net.unacknowledged(public.inner()), net.unacknowledged(backend.inner())]
            };
            converse::<Buffer, _, _, _>(
                public,
                backend,
                ahead,
                conversation,
                meter,
                leaving,
                Some(outstanding),
            )
            .await
        }
    }
}

/// What a session of TLS reads and writes: a stream that gives bytes read earlier before it
/// reads more.
///
/// The session asks for 4 KiB at a time, a quarter of what it can decrypt at once. Once bulk
/// flows, this reads for it as much as a pooled buffer holds.
#[derive(Debug)]
pub struct Rewound<S> {
    stream: S,
    read_ahead: Bytes,
    /// Held only while bulk flows.
    bulk: Option<Buffer>,
}

impl<S> Rewound<S> {
    /// `read_ahead` was read from `stream`.
    pub fn new(stream: S, read_ahead: Bytes) -> Self {
        Self { stream, read_ahead, bulk: None }
    }

    /// Whether a read is answered without one of the stream.
    fn is_ahead(&self) -> bool {
        self.bulk.as_ref().is_some_and(|bulk| !bulk.is_spent())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, read_ahead, bulk } = self.get_mut();
        if !read_ahead.is_empty() {
            let count = read_ahead.len().min(buf.remaining());
            buf.put_slice(&read_ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        if let Some(buffer) = bulk {
            if buffer.is_spent() {
                let refilled = buffer.poll_refill(cx, stream);
                if !matches!(refilled, Poll::Ready(Ok(1..))) {
                    *bulk = None;
                    return refilled.map_ok(|_| ());
                }
            }
            buffer.give(buf);
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        if room >= BULK_READ_BYTES && buf.remaining() == 0 {
            *bulk = Some(Buffer::pooled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => {
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                // One record came; more of them may be here.
                let mut before = 0;
                while stream.get_ref().0.is_ahead()
                    && buf.remaining() > 0
                    && buf.filled().len() > before
                {
                    before = buf.filled().len();
                    // What stops it is said again by the next read.
                    let _ = Pin::new(&mut *stream).poll_read(cx, buf);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
