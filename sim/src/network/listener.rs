//! Listening sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ops_proxy::stream::net::Listener;
use turmoil::net::TcpListener;

use super::fabric::Fabric;
use super::schedule::Schedule;
use super::stream::SimStream;
use crate::connection::{End, Pair};

/// A listening socket on the simulated network.
pub struct SimListener {
    inner: TcpListener,
    fabric: Fabric,
    ip: IpAddr,
    schedule: Option<Schedule>,
}

impl SimListener {
    /// The same; its connections are under a schedule.
    pub(super) fn under(self, schedule: Option<Schedule>) -> Self {
        Self { schedule, ..self }
    }

    /// Listens on the host at `ip`.
    pub(super) async fn bind(addr: SocketAddr, fabric: &Fabric, ip: IpAddr) -> io::Result<Self> {
        let inner = TcpListener::bind(addr).await?;
        Ok(Self { inner, fabric: fabric.clone(), ip, schedule: None })
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<(SimStream, SocketAddr)> {
        let (inner, source) = self.inner.accept().await?;
        let pair = Pair { dialler: source, acceptor: inner.local_addr()? };
        self.fabric.state().accepted(pair);
        let stream = SimStream::new(inner, &self.fabric, pair, End::Acceptor);
        Ok((stream.under(self.schedule.clone()), source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.ip, self.inner.local_addr()?.port()))
    }
}
