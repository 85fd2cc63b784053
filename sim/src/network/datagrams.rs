//! Sockets of UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ops_proxy::stream::net::Datagrams;
use turmoil::net::UdpSocket;

use super::fabric::Fabric;
use super::host::HostState;
use crate::trace::{What, digest};

/// A socket of UDP on the simulated network.
pub struct SimDatagrams {
    inner: UdpSocket,
    fabric: Fabric,
    ip: IpAddr,
    /// With whom alone it exchanges datagrams.
    target: Option<SocketAddr>,
}

impl SimDatagrams {
    /// Receives what is sent to the host at `ip`, on the port of `addr`.
    pub(super) async fn bind(addr: SocketAddr, fabric: &Fabric, ip: IpAddr) -> io::Result<Self> {
        let inner = UdpSocket::bind(addr).await?;
        Ok(Self { inner, fabric: fabric.clone(), ip, target: None })
    }

    /// Exchanges datagrams with `target` alone.
    pub(super) async fn connect(
        target: SocketAddr,
        fabric: &Fabric,
        ip: IpAddr,
    ) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let socket = Self::bind(any, fabric, ip).await?;
        socket.inner.connect(target).await?;
        Ok(Self { target: Some(target), ..socket })
    }
}

impl Datagrams for SimDatagrams {
    async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.inner.writable().await
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (length, source) = self.inner.try_recv_from(buffer)?;
        let mut state = self.fabric.state();
        let from = state.show(source);
        let digest = digest(&buffer[..length]);
        state.event(self.ip, What::Received { from, bytes: length, digest });
        Ok((length, source))
    }

    fn try_send_to(&self, datagram: &[u8], target: SocketAddr) -> io::Result<()> {
        self.inner.try_send_to(datagram, target)?;
        let mut state = self.fabric.state();
        state.count_traffic(self.ip, target.ip());
        let to = state.show(target);
        let digest = digest(datagram);
        state.event(self.ip, What::Sent { to, bytes: datagram.len(), digest });
        Ok(())
    }

    fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        let target = self.target.ok_or(io::ErrorKind::NotConnected)?;
        let is_down = {
            let state = self.fabric.state();
            let host = state.hosts.get(&target.ip());
            host.is_some_and(|host| host.state == HostState::Down)
                && !state.is_cut(self.ip, target.ip())
        };
        // The kernel of a host without software says that the port is closed; here at once.
        match is_down {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => self.try_send_to(datagram, target),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.ip, self.inner.local_addr()?.port()))
    }
}
