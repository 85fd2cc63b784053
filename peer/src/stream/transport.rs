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
            Self::Tls(tls) => &mut beneath(tls).stream,
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

/// What a session reads and writes.
fn beneath<S>(tls: &mut TlsStream<Rewound<S>>) -> &mut Rewound<S> {
    match tls {
        TlsStream::Client(tls) => tls.get_mut().0,
        TlsStream::Server(tls) => tls.get_mut().0,
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
    /// What the session failed with behind bytes that it gave: the next read says so.
    failed: Option<io::Error>,
}

impl<S> Rewound<S> {
    /// `read_ahead` was read from `stream`.
    pub fn new(stream: S, read_ahead: Bytes) -> Self {
        Self { stream, read_ahead, bulk: None, failed: None }
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
        let Self { stream, read_ahead, bulk, .. } = self.get_mut();
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
                if let Some(error) = beneath(stream).failed.take() {
                    return Poll::Ready(Err(error));
                }
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                // One record came; more of them may be here.
                let mut before = 0;
                while stream.get_ref().0.is_ahead()
                    && buf.remaining() > 0
                    && buf.filled().len() > before
                {
                    before = buf.filled().len();
                    if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_read(cx, buf) {
                        beneath(stream).failed = Some(error);
                    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
    use tokio_rustls::{TlsAcceptor, TlsConnector, server};

    use super::*;

    /// A session in memory: the end that reads, and the one that writes.
    async fn session() -> (Transport<DuplexStream>, server::TlsStream<DuplexStream>) {
        let own = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
        let provider = Arc::new(ring::default_provider());
        let key = own.signing_key.serialize_der().try_into().unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = duplex(1 << 20);
        let connector = TlsConnector::from(Arc::new(client));
        let name = "app.example".try_into().unwrap();
        let reading = connector.connect(name, Rewound::new(near, Bytes::new()));
        let writing = TlsAcceptor::from(Arc::new(server)).accept(far);
        let (reading, writing) = tokio::try_join!(reading, writing).unwrap();
        (Transport::Tls(Box::new(reading.into())), writing)
    }

    #[tokio::test(start_paused = true)]
    async fn what_bulk_failed_with_comes_behind_it_and_at_once() {
        let bulk: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let (mut reading, mut writing) = session().await;
        writing.write_all(&bulk).await.unwrap();
        writing.flush().await.unwrap();
        // A record that nobody has encrypted; the connection stays open behind it.
        let mut forged = vec![23, 3, 3, 0, 40];
        forged.extend([7; 40]);
        writing.get_mut().0.write_all(&forged).await.unwrap();
        let (mut got, mut buffer) = (Vec::<u8>::new(), vec![0; 65_536]);
        let error = loop {
            match timeout(Duration::from_secs(1), reading.read(&mut buffer)).await.unwrap() {
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) => break error,
            }
        };
        // rustls keeps back what it has decrypted in one go with what fails.
        assert!(bulk.starts_with(&got) && got.len() >= 12 * 16_384, "{} bytes came", got.len());
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let Transport::Tls(tls) = reading else { unreachable!() };
        assert!(tls.get_ref().0.failed.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn bulk_is_read_many_records_at_a_time_and_holds_nothing_when_it_pauses() {
        let (mut reading, mut writing) = session().await;
        writing.write_all(&[1; 200_000]).await.unwrap();
        writing.flush().await.unwrap();
        let (mut left, mut most, mut buffer) = (200_000, 0, vec![0; 65_536]);
        while left > 0 {
            let count = reading.read(&mut buffer).await.unwrap();
            (left, most) = (left - count, most.max(count));
        }
        assert!(most > 3 * 16_384, "{most}");
        assert!(timeout(Duration::from_secs(1), reading.read(&mut buffer)).await.is_err());
        let Transport::Tls(tls) = reading else { unreachable!() };
        assert!(tls.get_ref().0.bulk.is_none());
    }
}
