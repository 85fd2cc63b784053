//! The real network: tokio's sockets, the system's resolver, entropy, clock and
//! files.
//!
//! This file and what is under it are the only ones that name a real socket.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this file is the seam to the real network"
)]

#[cfg(target_os = "linux")]
mod diag;
pub mod inherited;
#[cfg(target_os = "linux")]
mod pipe;
mod socket;
mod udp;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use socket::{Listening, settled, tune};

use super::seam::Net;
use crate::http::Conversation;
use crate::limits::TLS_FILE_BYTES;
use crate::stream::relay::{
    Ahead, Leaving, Meter, Over, RelayError, Side, Unacknowledged, carry_both, converse,
};
use crate::workers::Place;

/// The network of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    type Listener = Listening;
    type Stream = TcpStream;
    type Datagrams = UdpSocket;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Listening> {
        match inherited::listener(addr) {
            Some(socket) => Listening::given(socket),
            None => Listening::bind(addr),
        }
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(addr).await?;
        tune(&stream)?;
        Ok(stream)
    }

    async fn bind_udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        udp::bind(addr).await
    }

    async fn connect_udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        udp::connect(addr).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((host, port)).await?.collect())
    }

    fn local_addr(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr()
    }

    fn peer_addr(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.peer_addr()
    }

    async fn settle(&self, stream: &mut TcpStream, from: Place) {
        if from != Place::here()
            && let Ok(here) = settled(stream).await
        {
            *stream = here;
        }
    }

    async fn reset(&self, stream: &mut TcpStream) {
        // A half-close is no error, and what can be read stays where it is.
        if stream.ready(Interest::ERROR).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn abort(&self, stream: TcpStream) {
        // Failure leaves the ordinary close, which is all that could still be done.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    #[cfg(target_os = "linux")]
    fn unacknowledged(&self, stream: &TcpStream) -> Option<Unacknowledged> {
        // Where the kernel does not tell, its own patience decides, which is longer; a
        // connection that has just ended is nobody's concern.
        diag::unacknowledged(stream).ok().flatten()
    }

    fn unix_time(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("the clock of a machine that speaks TLS is past 1970")
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut contents = Vec::new();
        File::open(path)?.take(TLS_FILE_BYTES + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > TLS_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
        }
        Ok(contents)
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    #[cfg(unix)]
    fn file_mode(&self, path: &Path) -> io::Result<Option<u32>> {
        use std::os::unix::fs::PermissionsExt;
        Ok(Some(std::fs::metadata(path)?.permissions().mode()))
    }

    #[cfg(target_os = "linux")]
    async fn relay<M: Meter>(
        &self,
        public: &mut Side<&mut TcpStream>,
        backend: &mut Side<&mut TcpStream>,
        meter: &M,
    ) -> Result<(), RelayError> {
        let outstanding = |public: &&mut TcpStream, backend: &&mut TcpStream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        carry_both::<pipe::Pipe, _, _, _>(public, backend, meter, Some(outstanding)).await
    }

    #[cfg(target_os = "linux")]
    async fn converse<M: Meter>(
        &self,
        public: &mut Side<&mut TcpStream>,
        backend: &mut Side<&mut TcpStream>,
        ahead: Ahead,
        conversation: &mut Conversation,
        meter: &M,
        leaving: Leaving<'_>,
    ) -> Result<Over, RelayError> {
        let outstanding = |public: &&mut TcpStream, backend: &&mut TcpStream| {
            [self.unacknowledged(public), self.unacknowledged(backend)]
        };
        converse::<pipe::Pipe, _, _, _>(
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

    fn fill_random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system's entropy source answers once booted");
    }
}
