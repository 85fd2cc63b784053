//! A thread for each core, each with a listener of its own on the same address.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::{Domain, Socket, Type};

/// Runs `relay` on as many threads as there are cores; does not return.
pub(crate) fn each(listen: SocketAddr, pin: bool, relay: impl Fn(TcpListener) + Sync) {
    let cores = thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        for core in 0..cores {
            let relay = &relay;
            scope.spawn(move || {
                if pin {
                    let mut only = CpuSet::new();
                    only.set(core);
                    sched_setaffinity(None, &only).unwrap();
                }
                relay(listener(listen, pin.then_some(core)));
            });
        }
    });
}

/// A listener that does not block. The kernel spreads connections over all those of an address, or
/// gives each the connections that arrive at its core.
pub(crate) fn listener(listen: SocketAddr, core: Option<usize>) -> TcpListener {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    // Copied to what it accepts.
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    if let Some(core) = core {
        socket.set_cpu_affinity(core).unwrap();
    }
    socket.bind(&listen.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

/// A socket that is on its way to `to`, and does not block.
pub(crate) fn dial(to: SocketAddr) -> Socket {
    let socket = unconnected(to);
    socket.set_nonblocking(true).unwrap();
    match socket.connect(&to.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            panic!("{to}: {error}")
        }
        _ => socket,
    }
}

/// A socket that can be connected to `to`.
pub(crate) fn unconnected(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket
}
