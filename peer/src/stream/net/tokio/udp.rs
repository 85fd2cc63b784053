//! Sockets of UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::inherited;
use crate::limits::UDP_SOCKET_BYTES;
use crate::stream::net::seam::Datagrams;

/// Receives what is sent to `addr`.
pub(super) async fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match inherited::datagrams(addr) {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)?
        }
        None => UdpSocket::bind(addr).await?,
    };
    widen(&socket);
    Ok(socket)
}

/// Exchanges datagrams with `addr` alone, from a port that the system chooses.
pub(super) async fn connect(addr: SocketAddr) -> io::Result<UdpSocket> {
    let any = match addr {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = bind(any).await?;
    socket.connect(addr).await?;
    Ok(socket)
}

/// Gives the kernel room for what comes while this process is not scheduled. What it does not
/// grant, it does without: then datagrams are lost earlier.
fn widen(socket: &UdpSocket) {
    let receives = {
        #[cfg(target_os = "linux")]
        {
            // Beyond net.core.rmem_max, for whoever may.
            use rustix::net::sockopt::set_socket_recv_buffer_size_force;
            set_socket_recv_buffer_size_force(socket, UDP_SOCKET_BYTES).is_ok()
        }
        #[cfg(not(target_os = "linux"))]
        false
    };
    let socket = SockRef::from(socket);
    if !receives {
        let _ = socket.set_recv_buffer_size(UDP_SOCKET_BYTES);
    }
    let _ = socket.set_send_buffer_size(UDP_SOCKET_BYTES);
}

impl Datagrams for UdpSocket {
    async fn readable(&self) -> io::Result<()> {
        // That a port is closed makes a socket fail, and not readable.
        let ready = self.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_readable() {
            return Ok(());
        }
        match self.take_error()? {
            Some(error) => Err(error),
            // Whoever sent meanwhile was told.
            None => Self::readable(self).await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Self::try_recv_from(self, buffer)
    }

    fn try_send_to(&self, datagram: &[u8], target: SocketAddr) -> io::Result<()> {
        Self::try_send_to(self, datagram, target).map(drop)
    }

    fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        Self::try_send(self, datagram).map(drop)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}
