use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::stream::net::tokio::TokioNet;
use crate::stream::net::{Listener, Net};
use crate::wire::frames::Frames;

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

/// How a relay carries what the tests send: all must do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Copied, between pipes in memory of this capacity.
    Memory(usize),
    /// Copied, between sockets.
    Copied,
    /// As the real network does it between sockets: spliced, where it can.
    Native,
    /// The same over two peers, with frames on the connection between them.
    Framed,
}

impl Path {
    const ALL: [Self; 4] = [Self::Memory(64), Self::Copied, Self::Native, Self::Framed];
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Rig {
    client: Box<dyn Stream>,
    backend: Box<dyn Stream>,
    count: std::sync::Arc<Count>,
    relay: JoinHandle<Result<(), RelayError>>,
}

async fn socket_pair() -> (<TokioNet as Net>::Stream, <TokioNet as Net>::Stream) {
    let listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TokioNet.connect(addr), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A relay that has read `from_client` and `from_backend` before it begins.
async fn rig(path: Path, from_client: &[u8], from_backend: &[u8]) -> Rig {
    let count = std::sync::Arc::new(Count::default());
    let meter = count.clone();
    let (public_ahead, data_ahead) =
        (Bytes::copy_from_slice(from_client), Bytes::copy_from_slice(from_backend));
    if let Path::Memory(capacity) = path {
        let (client, public) = duplex(capacity);
        let (backend, data) = duplex(capacity);
        let mut public = Side::raw(public, public_ahead);
        let mut data = Side::raw(data, data_ahead);
        let relay = tokio::spawn(async move { copy_both(&mut public, &mut data, &meter).await });
        return Rig { client: Box::new(client), backend: Box::new(backend), count, relay };
    }
    let (client, mut public) = socket_pair().await;
    let (mut backend, mut data) = socket_pair().await;
    let mut frames = Frames::raw(data_ahead);
    if path == Path::Framed {
        frames = Frames::framed(match from_backend {
            b"" => Bytes::new(),
            bytes => [&Frames::header(bytes), bytes].concat().into(),
        });
        backend = second_peer(backend).await;
    }
    let relay = tokio::spawn(async move {
        let mut public = Side::raw(&mut public, public_ahead);
        let mut data = Side { stream: &mut data, frames };
        match path {
            Path::Native | Path::Framed => TokioNet.relay(&mut public, &mut data, &meter).await,
            _ => copy_both(&mut public, &mut data, &meter).await,
        }
    });
    Rig { client: Box::new(client), backend: Box::new(backend), count, relay }
}

/// A peer that takes frames from `data`, and the backend that it relays to.
async fn second_peer(mut data: <TokioNet as Net>::Stream) -> <TokioNet as Net>::Stream {
    let (backend, mut service) = socket_pair().await;
    tokio::spawn(async move {
        let mut data_side = Side { stream: &mut data, frames: Frames::framed(Bytes::new()) };
        let mut service_side = Side::raw(&mut service, Bytes::new());
        let count = std::sync::Arc::new(Count::default());
        if TokioNet.relay(&mut data_side, &mut service_side, &count).await.is_err() {
            TokioNet.abort(data);
            TokioNet.abort(service);
        }
    });
    backend
}

async fn read_all(stream: &mut Box<dyn Stream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn either_side_may_end_first_and_the_rest_still_arrives() {
    for path in Path::ALL {
        let mut rig = rig(path, b"", b"").await;
        rig.client.write_all(b"question").await.unwrap();
        rig.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"question");
        rig.backend.write_all(b"answer after the end").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.client).await, b"answer after the end");
        rig.relay.await.unwrap().unwrap();

        let mut rig = self::rig(path, b"", b"").await;
        rig.backend.write_all(b"greeting").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.client).await, b"greeting");
        rig.client.write_all(b"late upload").await.unwrap();
        rig.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"late upload");
        rig.relay.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_was_read_ahead_goes_first_and_counts() {
    for path in Path::ALL {
        let mut rig = rig(path, b"GET / ", b"220 ").await;
        rig.client.write_all(b"HTTP/1.1").await.unwrap();
        rig.client.shutdown().await.unwrap();
        rig.backend.write_all(b"ready").await.unwrap();
        rig.backend.shutdown().await.unwrap();
        assert_eq!(read_all(&mut rig.backend).await, b"GET / HTTP/1.1");
        assert_eq!(read_all(&mut rig.client).await, b"220 ready");
        rig.relay.await.unwrap().unwrap();
        assert_eq!((rig.count.sent.load(Relaxed), rig.count.received.load(Relaxed)), (14, 9));
    }
}

#[tokio::test]
async fn bytes_are_counted_as_the_reader_takes_them() {
    const PIPE: usize = 1000;
    let mut rig = rig(Path::Memory(PIPE), b"", b"").await;
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
async fn counters_follow_a_slow_reader_on_every_path() {
    for path in [Path::Copied, Path::Native, Path::Framed] {
        const LENGTH: usize = 64 << 20;
        let mut rig = rig(path, b"", b"").await;
        let mut backend = rig.backend;
        let upload = tokio::spawn(async move {
            backend.write_all(&vec![7; LENGTH]).await?;
            backend.shutdown().await?;
            backend.read_to_end(&mut Vec::new()).await
        });
        let mut got = 0;
        let mut some = vec![0; 1 << 20];
        while got < LENGTH / 2 {
            got += rig.client.read(&mut some).await.unwrap();
        }
        let counted = rig.count.received.load(Relaxed);
        assert!(counted >= got && counted < LENGTH, "{path:?}: {got} read, {counted} counted");
        let rest = read_all(&mut rig.client).await;
        assert_eq!((got + rest.len(), rig.count.received.load(Relaxed)), (LENGTH, LENGTH));
        rig.client.shutdown().await.unwrap();
        upload.await.unwrap().unwrap();
        rig.relay.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_side_that_broke_is_named() {
    for path in Path::ALL {
        let mut rig = rig(path, b"", b"").await;
        // Unread bytes make a socket's close a reset.
        rig.client.write_all(b"unread").await.unwrap();
        while rig.count.sent.load(Relaxed) < 6 {
            tokio::task::yield_now().await;
        }
        drop(rig.backend);
        while !rig.relay.is_finished() {
            let _ = rig.client.write_all(&[0; 1000]).await;
            tokio::task::yield_now().await;
        }
        let broken = rig.relay.await.unwrap().unwrap_err();
        assert!(matches!(broken, RelayError::Backend(_)), "{path:?}: {broken}");
    }
}

async fn check_whole(path: Path, ahead: &[u8], upload: &[u8], download: &[u8]) {
    let rig = rig(path, ahead, b"").await;
    let (mut from_relay, mut to_relay) = tokio::io::split(rig.client);
    let (mut at_backend, mut of_backend) = tokio::io::split(rig.backend);
    let (mut got_download, mut got_upload) = (Vec::new(), Vec::new());
    let (up, down, first, second) = tokio::join!(
        async {
            to_relay.write_all(upload).await?;
            to_relay.shutdown().await
        },
        async {
            of_backend.write_all(download).await?;
            of_backend.shutdown().await
        },
        from_relay.read_to_end(&mut got_download),
        at_backend.read_to_end(&mut got_upload),
    );
    up.and(down).unwrap();
    first.and(second).unwrap();
    rig.relay.await.unwrap().unwrap();
    assert!(got_upload == [ahead, upload].concat(), "{path:?}: the upload differs");
    assert!(got_download == download, "{path:?}: the download differs");
    assert_eq!(rig.count.sent.load(Relaxed), got_upload.len());
    assert_eq!(rig.count.received.load(Relaxed), got_download.len());
}

/// Bytes of which none looks like its neighbours.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
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
        runtime.block_on(check_whole(Path::Memory(capacity), &ahead, &upload, &download));
    }

    #[test]
    fn bulk_arrives_whole_on_every_path(
        upload in 0..3_000_000_usize,
        download in 0..3_000_000_usize,
        seed in any::<u32>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (upload, download) = (noise(upload, seed), noise(download, !seed));
        for path in [Path::Memory(70_000), Path::Copied, Path::Native, Path::Framed] {
            runtime.block_on(check_whole(path, b"ahead", &upload, &download));
        }
    }
}
