//! Both ends of UDP: clients, a backend that echoes, and a steady flow of numbered datagrams.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::wait::within;

/// Longest payload of a datagram, in bytes.
pub const LONGEST: usize = 65_507;

/// What the kernel may hold for a socket of a test, in bytes: a busy machine must not lose what
/// the peer did not.
const SOCKET_BYTES: usize = 16 * 1024 * 1024;

/// A socket on a port of the system's choice.
pub async fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    if set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES).is_err() {
        SockRef::from(&socket).set_recv_buffer_size(SOCKET_BYTES).unwrap();
    }
    socket
}

/// A client of the port at `to`.
pub async fn client(to: SocketAddr) -> UdpSocket {
    let socket = socket().await;
    socket.connect(to).await.unwrap();
    socket
}

/// The next datagram.
pub async fn next(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; LONGEST];
    let length = within("a datagram", socket.recv(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Sends a datagram and returns the next one that comes.
pub async fn exchange(socket: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    socket.send(datagram).await.unwrap();
    next(socket).await
}

/// A backend that sends every datagram back to where it came from, until dropped.
#[derive(Debug)]
pub struct Echo {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    /// Starts it.
    pub async fn start() -> Self {
        let socket = socket().await;
        let addr = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; LONGEST];
            loop {
                // That somebody has closed his port is no concern of the others.
                let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
                let _ = socket.send_to(&buffer[..length], source).await;
            }
        });
        Self { addr, task }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Datagrams that are sent at a steady pace to where they are echoed.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Bytes of each.
    pub length: usize,
    /// How many are sent in a second.
    pub per_second: u32,
    /// For how long.
    pub lasts: Duration,
}

impl Flow {
    /// Sends it to `to`; how many were sent, and the numbers of those that never came back,
    /// or came back other than they were sent.
    ///
    /// # Errors
    /// The socket's own.
    pub async fn run(self, to: SocketAddr) -> io::Result<(u64, BTreeSet<u64>)> {
        let socket = Arc::new(client(to).await);
        let count = u64::from(self.per_second) * self.lasts.as_millis() as u64 / 1000;
        let receiving = tokio::spawn(receive(socket.clone(), self.length, count));
        let began = Instant::now();
        let mut datagram = vec![0x5a; self.length];
        for number in 0..count {
            let due =
                began + Duration::from_micros(number * 1_000_000 / u64::from(self.per_second));
            // Those that are due within the same millisecond go one behind the other.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            socket.send(&datagram).await?;
        }
        Ok((count, receiving.await.expect("it does not panic")?))
    }
}

/// Receives until all of `count` have come, or none for seconds.
async fn receive(socket: Arc<UdpSocket>, length: usize, count: u64) -> io::Result<BTreeSet<u64>> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut missing: BTreeSet<u64> = (0..count).collect();
    let mut buffer = vec![0; LONGEST];
    while !missing.is_empty() {
        let Ok(received) = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await else {
            break;
        };
        let datagram = &buffer[..received?];
        if let Some((number, rest)) = datagram.split_first_chunk::<8>()
            && datagram.len() == length
            && rest.iter().all(|byte| *byte == 0x5a)
        {
            missing.remove(&u64::from_be_bytes(*number));
        }
    }
    Ok(missing)
}
