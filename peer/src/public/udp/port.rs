//! Receives the datagrams of one port, and begins a request for each client that is new.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::client::Seat;
use super::clients::{Arrival, Bounds, Clients};
use super::request::DatagramRequest;
use crate::limits::{
    ACCEPT_BACKOFF, UDP_RECEIVED_IN_A_ROW, UDP_WAITING_BYTES, UDP_WAITING_BYTES_IN_ALL,
};
use crate::lock::Lock;
use crate::names::Name;
use crate::observe::LogSource;
use crate::observe::metrics::{DatagramLoss, Incident, Rejection};
use crate::shared::Shared;
use crate::stream::net::{Datagrams, Net};
use crate::wire::datagrams::DATAGRAM_BYTES;

/// One port of UDP.
struct UdpPort<N: Net> {
    shared: Arc<Shared<N>>,
    socket: Arc<N::Datagrams>,
    /// Where it is bound.
    dest: Option<SocketAddr>,
    /// The name that it routes to.
    name: Name,
    clients: Arc<Lock<Clients>>,
}

/// Receives until the task is ended, but for while another process does. It never waits for
/// a stranger.
pub async fn datagram_loop<N: Net>(shared: Arc<Shared<N>>, socket: Arc<N::Datagrams>, name: Name) {
    let bounds = Bounds {
        requests: shared.config().capacity.udp_requests,
        waiting: UDP_WAITING_BYTES,
        waiting_in_all: UDP_WAITING_BYTES_IN_ALL,
    };
    let clients = Arc::new(Lock::new("the clients of a UDP port", Clients::new(bounds)));
    let dest = socket.local_addr().ok();
    let port = UdpPort { shared, socket, dest, name, clients };
    loop {
        port.shared.accepting.unless_handed_over(port.receive_all()).await;
    }
}

impl<N: Net> UdpPort<N> {
    /// Receives. Cancel safe.
    async fn receive_all(&self) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let mut reconfigurations = self.shared.reconfigurations();
        loop {
            let readable = tokio::select! {
                biased;
                Ok(()) = reconfigurations.changed() => {
                    let limit = self.shared.config().capacity.udp_requests;
                    self.clients.lock().set_limit(limit);
                    continue;
                }
                readable = self.socket.readable() => readable,
            };
            let received = readable.and_then(|()| self.receive(&mut buffer));
            if let Err(error) = received {
                if self.shared.may_log(LogSource::Anyone, Incident::Accept) {
                    tracing::warn!(%error, "cannot receive datagrams; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }

    /// Takes what has come.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..UDP_RECEIVED_IN_A_ROW {
            match self.socket.try_recv_from(buffer) {
                Ok((length, client)) => self.arrived(client, &buffer[..length], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn arrived(&self, client: SocketAddr, datagram: &[u8], now: Instant) {
        let shared = &self.shared;
        let arrival = self.clients.lock().arrive(client, datagram, now);
        let (place, told, made_room) = match arrival {
            Arrival::Waits => return,
            Arrival::Dropped => {
                return shared.metrics.datagrams_lost(DatagramLoss::QueueFull, 1);
            }
            Arrival::Begins(place, told, made_room) => (place, told, made_room),
        };
        if let Some(made_room) = made_room {
            shared.metrics.datagrams_lost(DatagramLoss::NoRequest, made_room.lost);
            if shared.rejected(made_room.client.ip(), Rejection::UdpLimit) {
                let client = made_room.client;
                tracing::warn!(%client, name = %self.name, "ended a request over UDP to make room for another; max_udp_requests limits them");
            }
        }
        let (clients, metrics) = (self.clients.clone(), shared.metrics.clone());
        let request = DatagramRequest {
            shared: shared.clone(),
            socket: self.socket.clone(),
            dest: self.dest,
            name: self.name.clone(),
            seat: Seat { clients, place, told, metrics },
        };
        let place = shared.tasks.workers().for_dialled();
        shared.spawn_at(place, request.serve());
    }
}
