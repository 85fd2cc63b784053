//! What a peer needs of a network, as traits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::{self, crypto::CryptoProvider};

use crate::http::Conversation;
use crate::stream::relay::{self, Ahead, Leaving, Meter, Over, RelayError, Side, Unacknowledged};
use crate::workers::Place;

/// A network: how a peer listens, dials, resolves and draws random bytes.
///
/// Dispatch is static, so that a network's own stream type stays reachable for
/// what only it can do.
pub trait Net: Clone + Send + Sync + 'static {
    /// What [`bind`](Net::bind) returns.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connected byte stream. Dropping it closes it cleanly (FIN).
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static;
    /// A socket that sends and receives datagrams (UDP).
    type Datagrams: Datagrams;

    /// Listens on `addr`; port 0 lets the network choose.
    fn bind(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to `addr`. Has no deadline of its own: the caller sets one.
    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Receives the datagrams to `addr`; port 0 lets the network choose.
    fn bind_udp(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Datagrams>> + Send;

    /// A socket that exchanges datagrams with `addr` alone. Nothing is sent yet, so that this
    /// tells nothing about the other end.
    fn connect_udp(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Datagrams>> + Send;

    /// The addresses of `host` now; nothing is cached between calls. Has no deadline of its
    /// own, and may go on in vain after it was given up: it is called by
    /// [`Resolver`](crate::stream::resolve::Resolver) alone.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Our end of `stream`.
    ///
    /// # Errors
    /// As the network's own; a connection that has failed may have none any more.
    fn local_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// The other end of `stream`.
    ///
    /// # Errors
    /// As [`local_addr`](Net::local_addr).
    fn peer_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// From now on, `stream` is watched where the caller [runs](crate::workers), and no longer
    /// `from` there: to be called by a task that was given it by another. Waits for nobody. The
    /// default is for networks on which that makes no difference.
    fn settle(&self, _stream: &mut Self::Stream, _from: Place) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Returns once the other end has reset `stream`. Its clean end is none, and no byte of
    /// it is lost. Cancel safe.
    fn reset(&self, stream: &mut Self::Stream) -> impl Future<Output = ()> + Send;

    /// Closes `stream` so that the other end sees an error (RST), never a clean
    /// end of what was sent.
    fn abort(&self, stream: Self::Stream);

    /// What was written to `stream` and has not been acknowledged; `None` if there is
    /// none, or if this network does not tell. A relay asks, to notice who has vanished.
    fn unacknowledged(&self, _stream: &Self::Stream) -> Option<Unacknowledged> {
        None
    }

    /// `task` as it runs on this network. The default leaves the order of all tasks to the
    /// runtime, and costs nothing; a simulated network may delay each poll.
    fn scheduled<T>(
        &self,
        task: T,
    ) -> impl Future<Output = T::Output> + Send + 'static + use<Self, T>
    where
        T: Future<Output: Send> + Send + 'static,
    {
        task
    }

    /// Fills `bytes` with random bytes that a stranger cannot predict.
    fn fill_random(&self, bytes: &mut [u8]);

    /// The wall clock, since the Unix epoch; what certificates are checked
    /// against, and nothing else.
    fn unix_time(&self) -> Duration;

    /// The whole contents of a small file: certificates, keys, tokens.
    ///
    /// # Errors
    /// As reading does, and for a file over
    /// [`TLS_FILE_BYTES`](crate::limits::TLS_FILE_BYTES).
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What is in a directory, in order; a network that has none says so.
    ///
    /// # Errors
    /// The system's own.
    fn list_directory(&self, _path: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The permission bits of a file, or of what a symbolic link leads to; `None` where
    /// files have none.
    ///
    /// # Errors
    /// As looking at it does.
    fn file_mode(&self, _path: &Path) -> io::Result<Option<u32>> {
        Ok(None)
    }

    /// The cryptography of TLS.
    fn crypto_provider(&self) -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }

    /// Carries bytes both ways between two streams of this network until both
    /// directions have ended. The default copies; a network that can do better
    /// overrides it, with the same half-close, counting and errors.
    fn relay<M: Meter>(
        &self,
        public: &mut Side<&mut Self::Stream>,
        backend: &mut Side<&mut Self::Stream>,
        meter: &M,
    ) -> impl Future<Output = Result<(), RelayError>> + Send {
        let outstanding = |public: &&mut Self::Stream, backend: &&mut Self::Stream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        relay::carry_both::<relay::Buffer, _, _, _>(public, backend, meter, Some(outstanding))
    }

    /// Carries an HTTP conversation, as [`relay`](Net::relay) carries bytes.
    fn converse<M: Meter>(
        &self,
        public: &mut Side<&mut Self::Stream>,
        backend: &mut Side<&mut Self::Stream>,
        ahead: Ahead,
        conversation: &mut Conversation,
        meter: &M,
        leaving: Leaving<'_>,
    ) -> impl Future<Output = Result<Over, RelayError>> + Send {
        let outstanding = |public: &&mut Self::Stream, backend: &&mut Self::Stream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        relay::converse::<relay::Buffer, _, _, _>(
            public,
            backend,
            ahead,
            conversation,
            meter,
            leaving,
            Some(outstanding),
        )
    }
}

/// A listening socket of a [`Net`].
pub trait Listener: Send + Sync + 'static {
    /// The stream of an accepted connection.
    type Stream;

    /// The next connection and where it comes from. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address that was bound, with the port that the network chose.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A socket of UDP of a [`Net`]. Any number of tasks may send on it.
pub trait Datagrams: Send + Sync + 'static {
    /// Returns once a datagram may have come; for one task at a time. Cancel safe.
    ///
    /// # Errors
    /// On a connected socket, what the other end or the way to it has answered.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Returns once a datagram may be sent. Cancel safe.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// The next datagram that has come, cut to the length of `buffer`, and where from.
    ///
    /// # Errors
    /// `WouldBlock` if there is none now.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends a datagram to `target`.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room for it now.
    fn try_send_to(&self, datagram: &[u8], target: SocketAddr) -> io::Result<()>;

    /// Sends a datagram to whom the socket is connected to.
    ///
    /// # Errors
    /// As [`try_send_to`](Self::try_send_to), and what an earlier datagram was answered with.
    fn try_send(&self, datagram: &[u8]) -> io::Result<()>;

    /// The address that was bound, with the port that the network chose.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}
