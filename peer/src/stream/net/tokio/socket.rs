//! Sockets of TCP, and who watches them.
//!
//! A runtime watches the sockets that were made in it. A task that runs elsewhere would be woken
//! through that runtime's thread, so a socket goes where its task is.

use std::collections::BTreeMap;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::lock::Lock;
use crate::stream::net::seam::Listener;
use crate::workers::Place;

/// Connections that may wait to be accepted; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// A connection on which nothing is under way is probed after this time…
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// …this often…
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// …and given up when so many probes went unanswered: 90 s after its last word. While
/// bytes are under way, none are sent; then the relay looks at what is unacknowledged.
const KEEPALIVE_RETRIES: u32 = 3;

/// The same connection, watched here, by another descriptor of its own.
///
/// # Errors
/// The system's own, and `WouldBlock` if it takes no write now, for this would wait for that. The
/// connection works on as it is, only slower.
pub(super) async fn settled(stream: &TcpStream) -> io::Result<TcpStream> {
    let mut ready = [PollFd::new(stream, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec::default()))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let again = stream.as_fd().try_clone_to_owned()?;
    let here = TcpStream::from_std(net::TcpStream::from(again))?;
    // Until this place has looked once, it takes no write.
    here.writable().await?;
    Ok(here)
}

/// A listening socket. Any place may accept from it, and watches it from the first time on.
#[derive(Debug)]
pub struct Listening {
    socket: net::TcpListener,
    watched: Lock<BTreeMap<Place, Arc<TcpListener>>>,
}

impl Listening {
    /// A new one.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        // A restart must not wait for the connections of the last run to expire.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        // Linux hands a listening socket's options on to what it accepts.
        tune(&socket)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Self::unwatched(socket.into())
    }

    /// One that this process was given.
    pub(super) fn given(socket: net::TcpListener) -> io::Result<Self> {
        tune(&socket)?;
        Self::unwatched(socket)
    }

    fn unwatched(socket: net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watched: Lock::new("who watches a listening socket", BTreeMap::new()) })
    }

    fn here(&self) -> io::Result<Arc<TcpListener>> {
        let mut watched = self.watched.lock();
        if let Some(here) = watched.get(&Place::here()) {
            return Ok(here.clone());
        }
        let here = Arc::new(TcpListener::from_std(self.socket.try_clone()?)?);
        watched.insert(Place::here(), here.clone());
        Ok(here)
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener for Listening {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, source) = self.here()?.accept().await?;
        // The client may be gone already; reading from it will tell.
        #[cfg(not(target_os = "linux"))]
        let _ = tune(&stream);
        Ok((stream, source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Sets what all connections need.
pub(super) fn tune<'s, S>(socket: &'s S) -> io::Result<()>
where
    SockRef<'s>: From<&'s S>,
{
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )?;
    // No TCP_USER_TIMEOUT: it counts from the first probe of a closed window on, answered
    // or not, and so ends connections whose reader pauses or is slow.
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stream::net::Net;
    use crate::stream::net::tokio::TokioNet;
    use crate::workers::Workers;

    /// Runs a task on a worker, and waits for its result.
    async fn on<T: Send + 'static>(
        workers: &Workers,
        place: Place,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        workers.runtime(place).unwrap().spawn(task).await.unwrap()
    }

    #[tokio::test]
    async fn each_worker_accepts_from_the_same_socket() {
        let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
        let listener = Arc::new(TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
        let addr = listener.local_addr().unwrap();
        for place in workers.accepting() {
            let near = TokioNet.connect(addr).await.unwrap();
            let socket = listener.clone();
            let (_far, source) =
                on(&workers, place, async move { socket.accept().await.unwrap() }).await;
            assert_eq!(source, near.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn a_connection_outlives_the_worker_that_has_accepted_it_once_another_watches_it() {
        let [before, after] = [2, 1].map(|count| Workers::start(NonZero::new(count).unwrap()));
        let (before, after) = (before.unwrap(), after.unwrap());
        let [_, accepting] = before.accepting()[..] else { panic!("two workers accept") };
        let [serving] = after.accepting()[..] else { panic!("one worker accepts") };
        let listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut near = TokioNet.connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) =
            on(&before, accepting, async move { listener.accept().await.unwrap() }).await;
        let mut far = on(&after, serving, async move {
            TokioNet.settle(&mut far, accepting).await;
            far
        })
        .await;
        let ended = before.runtime(accepting).unwrap().clone();
        drop(before);
        while ended.spawn(async {}).await.is_ok() {}
        let echo = after.runtime(serving).unwrap().spawn(async move {
            let mut bytes = [0; 6];
            far.read_exact(&mut bytes).await?;
            far.write_all(&bytes).await
        });
        near.write_all(b"behind").await.unwrap();
        echo.await.unwrap().unwrap();
        let mut answer = [0; 6];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"behind");
    }
}
