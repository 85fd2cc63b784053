//! Sockets that this process was given when it was started, by systemd or by the process
//! that it takes over from. Whoever binds one of their addresses gets the socket. Source:
//! sd_listen_fds(3).
//!
//! Descriptors are the whole process's, and so is this table.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;

use crate::lock::Lock;

static SOCKETS: Lock<Sockets> =
    Lock::new("the sockets that were given", Sockets { tcp: Vec::new(), udp: Vec::new() });

/// Each with the address that it stands for.
struct Sockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    udp: Vec<(SocketAddr, UdpSocket)>,
}

/// Takes what the environment says that this process was given. Each stands for the address
/// that it is bound to, or for its one of `instead`, which says so in the same order. To be
/// called at the start, before there are threads.
pub fn inherit(instead: &[SocketAddr]) {
    let mut given = ListenFd::from_env();
    let mut sockets = SOCKETS.lock();
    for index in 0..given.len() {
        let stands_for = |bound: SocketAddr| instead.get(index).copied().unwrap_or(bound);
        // What is no socket of either kind is nobody's, and stays open.
        if let Ok(Some(socket)) = given.take_tcp_listener(index)
            && let Ok(bound) = socket.local_addr()
        {
            sockets.tcp.push((stands_for(bound), socket));
        } else if let Ok(Some(socket)) = given.take_udp_socket(index)
            && let Ok(bound) = socket.local_addr()
        {
            sockets.udp.push((stands_for(bound), socket));
        }
    }
}

/// Those that nobody has bound. They are closed.
pub fn left_over() -> Vec<SocketAddr> {
    let mut sockets = SOCKETS.lock();
    let tcp = std::mem::take(&mut sockets.tcp).into_iter().map(|(addr, _)| addr);
    let udp = std::mem::take(&mut sockets.udp).into_iter().map(|(addr, _)| addr);
    tcp.chain(udp).collect()
}

/// The socket for `addr`, if there is one.
pub(super) fn listener(addr: SocketAddr) -> Option<TcpListener> {
    take(&mut SOCKETS.lock().tcp, addr)
}

/// The socket for the datagrams to `addr`, if there is one.
pub(super) fn datagrams(addr: SocketAddr) -> Option<UdpSocket> {
    take(&mut SOCKETS.lock().udp, addr)
}

fn take<S>(from: &mut Vec<(SocketAddr, S)>, addr: SocketAddr) -> Option<S> {
    let index = from.iter().position(|(one, _)| *one == addr)?;
    Some(from.remove(index).1)
}
