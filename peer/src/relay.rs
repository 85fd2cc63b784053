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
    mut public: Side<A>,
    mut backend: Side<B>,
    meter: &M,
) -> Result<(), RelayError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let mut to_backend = Direction::starting_with(public.read_ahead);
    let mut to_public = Direction::starting_with(backend.read_ahead);
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

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    #[derive(Debug, Default)]
    struct Count {
        sent: AtomicUsize,
        received: AtomicUsize,
    }

    impl Meter for std::sync::Arc<Count> {
        fn sent(&self, bytes: usize) {
            self.sent.fetch_add(bytes, Relaxed);
        }
        fn received(&self, bytes: usize) {
            self.received.fetch_add(bytes, Relaxed);
        }
    }

    struct Rig {
        client: DuplexStream,
        backend: DuplexStream,
        count: std::sync::Arc<Count>,
        relay: JoinHandle<Result<(), RelayError>>,
    }

    /// A relay between two pipes that hold `capacity` bytes each.
    fn rig(capacity: usize, from_client: &[u8], from_backend: &[u8]) -> Rig {
        let (client, public) = duplex(capacity);
        let (backend, data) = duplex(capacity);
        let count = std::sync::Arc::new(Count::default());
        let meter = count.clone();
        let public = Side { stream: public, read_ahead: Bytes::copy_from_slice(from_client) };
        let data = Side { stream: data, read_ahead: Bytes::copy_from_slice(from_backend) };
        let relay = tokio::spawn(async move { copy_both(public, data, &meter).await });
        Rig { client, backend, count, relay }
    }

    async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn either_side_may_end_first_and_the_rest_still_arrives() {
        let mut rig = rig(64, b"", b"");
        rig.client.write_all(b"question").await.unwrap();
        rig.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"question");
        rig.backend.write_all(b"answer after the end").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.client).await, b"answer after the end");
        rig.relay.await.unwrap().unwrap();

        let mut rig = self::rig(64, b"", b"");
        rig.backend.write_all(b"greeting").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.client).await, b"greeting");
        rig.client.write_all(b"late upload").await.unwrap();
        rig.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"late upload");
        rig.relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_was_read_ahead_goes_first_and_counts() {
        let mut rig = rig(64, b"GET / ", b"220 ");
        rig.client.write_all(b"HTTP/1.1").await.unwrap();
        rig.client.shutdown().await.unwrap();
        rig.backend.write_all(b"ready").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"GET / HTTP/1.1");
        assert_eq!(read_all(&mut rig.client).await, b"220 ready");
        rig.relay.await.unwrap().unwrap();
        assert_eq!((rig.count.sent.load(Relaxed), rig.count.received.load(Relaxed)), (14, 9));
    }

    #[tokio::test]
    async fn bytes_are_counted_as_the_reader_takes_them() {
        const PIPE: usize = 1000;
        let mut rig = rig(PIPE, b"", b"");
        let (mut backend_read, mut backend_write) = tokio::io::split(rig.backend);
        let upload = tokio::spawn(async move {
            let _ = backend_write.write_all(&vec![7; 1 << 20]).await;
        });
        // The reader takes nothing: one pipe is full, and no more was counted.
        while rig.count.received.load(Relaxed) < PIPE {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.count.received.load(Relaxed), PIPE);
        let mut some = vec![0; 300];
        rig.client.read_exact(&mut some).await.unwrap();
        while rig.count.received.load(Relaxed) < PIPE + 300 {
            tokio::task::yield_now().await;
        }
        drop(rig.client);
        let broken = rig.relay.await.unwrap().unwrap_err();
        assert!(matches!(broken, RelayError::Public(_)), "{broken}");
        upload.abort();
        let mut rest = Vec::new();
        let _ = backend_read.read_to_end(&mut rest).await;
    }

    #[tokio::test]
    async fn the_side_that_broke_is_named() {
        let mut rig = rig(16, b"", b"");
        drop(rig.backend);
        rig.client.write_all(b"to nobody").await.unwrap();
        let broken = rig.relay.await.unwrap().unwrap_err();
        assert!(matches!(broken, RelayError::Backend(_)), "{broken}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_sizes_arrive_whole(
            capacity in 1..200_usize,
            ahead in prop::collection::vec(any::<u8>(), 0..100),
            upload in prop::collection::vec(any::<u8>(), 0..40_000),
            download in prop::collection::vec(any::<u8>(), 0..40_000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let rig = rig(capacity, &ahead, b"");
                let (mut from_relay, mut to_relay) = tokio::io::split(rig.client);
                let (mut at_backend, mut of_backend) = tokio::io::split(rig.backend);
                let (mut got_download, mut got_upload) = (Vec::new(), Vec::new());
                let (up, down, first, second) = tokio::join!(
                    async { to_relay.write_all(&upload).await?; to_relay.shutdown().await },
                    async { of_backend.write_all(&download).await?; of_backend.shutdown().await },
                    from_relay.read_to_end(&mut got_download),
                    at_backend.read_to_end(&mut got_upload),
                );
                up.and(down).unwrap();
                first.and(second).unwrap();
                rig.relay.await.unwrap().unwrap();
                assert_eq!(got_upload, [ahead, upload].concat());
                assert_eq!(got_download, download);
                assert_eq!(rig.count.sent.load(Relaxed), got_upload.len());
                assert_eq!(rig.count.received.load(Relaxed), got_download.len());
            });
        }
    }
}
