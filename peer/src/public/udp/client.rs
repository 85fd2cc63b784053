//! A client, as one end of its request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clients::{Clients, Place, Standing};
use crate::lock::Lock;
use crate::observe::metrics::{DatagramLoss, Metrics};
use crate::stream::datagrams::{DatagramEnd, Given, send_each};
use crate::stream::net::Datagrams;
use crate::wire::datagrams::Ended;

/// The place of a request among the clients of its port, which it leaves when this is dropped.
pub(super) struct Seat {
    pub(super) clients: Arc<Lock<Clients>>,
    pub(super) place: Place,
    pub(super) told: Arc<Notify>,
    pub(super) metrics: Arc<Metrics>,
}

impl Seat {
    /// Moves what waits to `into`, if anything does.
    pub(super) fn take(&self, into: &mut BytesMut) -> Standing {
        self.clients.lock().take(self.place, into)
    }

    /// Returns once the request has to make room.
    pub(super) async fn displaced(&self) {
        while self.clients.lock().has(self.place) {
            self.told.notified().await;
        }
    }

    /// Leaves, unless datagrams wait that came meanwhile; whether it has left.
    pub(super) fn leave_if_nothing_waits(&self) -> bool {
        self.clients.lock().leave_if_nothing_waits(self.place)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let lost = self.clients.lock().leave(self.place);
        self.metrics.datagrams_lost(DatagramLoss::NoRequest, lost);
    }
}

/// A client of a port.
pub(super) struct ClientEnd<'a, D> {
    pub(super) seat: &'a Seat,
    /// The port.
    pub(super) socket: &'a D,
    /// What was taken before the request could carry it.
    pub(super) ahead: Mutex<BytesMut>,
}

impl<D> ClientEnd<'_, D> {
    /// What was taken before, and never carried.
    pub(super) fn into_ahead(self) -> BytesMut {
        self.ahead.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Datagrams> DatagramEnd for ClientEnd<'_, D> {
    const SAYS_ITS_END: bool = false;

    async fn take(&self, into: &mut BytesMut) -> io::Result<Option<Ended>> {
        let ahead = std::mem::take(&mut *self.ahead.lock().unwrap_or_else(PoisonError::into_inner));
        if !ahead.is_empty() {
            into.unsplit(ahead);
            return Ok(None);
        }
        loop {
            match self.seat.take(into) {
                Standing::Taken => return Ok(None),
                Standing::Displaced => return Ok(Some(Ended::Quiet)),
                Standing::Nothing => self.seat.told.notified().await,
            }
        }
    }

    async fn give(&self, datagrams: &[u8]) -> io::Result<Given> {
        let client = self.seat.place.client();
        let send = |datagram: &[u8]| self.socket.try_send_to(datagram, client);
        let given = send_each(datagrams, self.socket, send).await;
        self.seat.clients.lock().answered(self.seat.place, Instant::now());
        given
    }
}
