//! Dials, with what a kernel does about a way that is cut and a host that is down.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use turmoil::net::TcpStream;

use super::fabric::Fabric;
use super::host::HostState;
use super::stream::SimStream;
use super::way::way;
use crate::connection::{End, Pair};

/// How long a host whose software is gone takes to refuse a dial: a way there
/// and back on a near network.
const REFUSED_AFTER: Duration = Duration::from_millis(10);

/// Connects host `from` to `addr`, as soon as the way there lets it.
pub(super) async fn dial(fabric: &Fabric, from: IpAddr, addr: SocketAddr) -> io::Result<SimStream> {
    {
        let mut state = fabric.state();
        state.count_traffic(from, addr.ip());
        *state.counters.dials.entry(addr.ip()).or_default() += 1;
    }
    loop {
        wait_for_way(fabric, from, addr.ip()).await?;
        let connecting: Connecting = Box::pin(TcpStream::connect(addr));
        let dialled = Dialling { connecting: Some(connecting), fabric: fabric.clone() };
        let result = tokio::select! {
            biased;
            result = dialled => result,
            // The answer may have been lost: a kernel sends its SYN again.
            () = healed(fabric, from, addr.ip()) => continue,
        };
        match result {
            Ok(stream) => return Ok(stream),
            // A SYN lost to a cut is sent again, by a kernel.
            Err(_) if fabric.state().is_cut(from, addr.ip()) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns once the way between two hosts was cut, and is no more.
async fn healed(fabric: &Fabric, a: IpAddr, b: IpAddr) {
    let heals = || fabric.state().counters.heals.get(&way(a, b)).copied();
    let before = heals();
    while heals() == before {
        fabric.way_change().await;
    }
}

/// A cut way swallows the SYN; a host without software refuses it.
async fn wait_for_way(fabric: &Fabric, from: IpAddr, to: IpAddr) -> io::Result<()> {
    let mut counted = false;
    loop {
        let state = {
            let mut state = fabric.state();
            let cut = state.is_cut(from, to);
            if cut && !std::mem::replace(&mut counted, true) {
                *state.counters.blocked.entry(way(from, to)).or_default() += 1;
            }
            let state = state.hosts.get(&to).map(|host| host.state);
            if cut { Some(HostState::Dark) } else { state }
        };
        match state {
            Some(HostState::Up) => return Ok(()),
            Some(HostState::Dark) => fabric.way_change().await,
            Some(HostState::Down) => {
                tokio::time::sleep(REFUSED_AFTER).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            None => return Err(io::ErrorKind::HostUnreachable.into()),
        }
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// A dial that may be abandoned: if it was accepted in the meantime, the stream
/// is closed, where turmoil would leave the other side with it for ever.
struct Dialling {
    connecting: Option<Connecting>,
    fabric: Fabric,
}

impl Dialling {
    fn poll_dialled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SimStream>> {
        let connecting = self.connecting.as_mut().expect("not polled again after it was ready");
        let result = ready!(connecting.as_mut().poll(cx));
        self.connecting = None;
        let inner = result?;
        let pair = Pair { dialler: inner.local_addr()?, acceptor: inner.peer_addr()? };
        Poll::Ready(Ok(SimStream::new(inner, &self.fabric, pair, End::Dialler)))
    }
}

impl Future for Dialling {
    type Output = io::Result<SimStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_dialled(cx)
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if self.connecting.is_some() && turmoil::in_simulation() {
            let _ = self.poll_dialled(&mut Context::from_waker(Waker::noop()));
        }
    }
}
