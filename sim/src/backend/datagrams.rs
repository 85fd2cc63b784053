//! A backend that speaks UDP: it sends back what it gets.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use ops_proxy::stream::net::Datagrams;

use crate::ground::Ground;
use crate::scenario::BackendSpec;

/// Longest payload of a datagram.
const DATAGRAM_BYTES: usize = 65_507;

/// Echoes on `here` until it fails.
pub(super) async fn echo<N: Ground>(
    net: &N,
    here: SocketAddr,
    spec: &BackendSpec,
) -> io::Result<()> {
    let socket = Rc::new(net.bind_udp(here).await?);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        socket.readable().await?;
        let (length, source) = match socket.try_recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let datagram = buffer[..length].to_vec();
        let Some(delay) = spec.delay else {
            socket.try_send_to(&datagram, source)?;
            continue;
        };
        // None waits for another, nor holds the port when the backend has changed.
        let socket = Rc::downgrade(&socket);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay.0).await;
            if let Some(socket) = socket.upgrade() {
                // Where to has gone, it is lost.
                let _ = socket.try_send_to(&datagram, source);
            }
        });
    }
}
