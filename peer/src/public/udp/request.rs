//! The datagrams of one client address, from the first to the last: one request, and another
//! if more come just when it has ended.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;

use super::client::{ClientEnd, Seat};
use super::clients::Standing;
use crate::backend::{connect_datagrams, refused_datagrams};
use crate::forward::{Asked, Forwarded, Onward, forward};
use crate::mesh::outgoing::Registered;
use crate::names::{Name, ProxyId};
use crate::observe::access::Access;
use crate::observe::metrics::{DatagramLoss, Protocol, ProxyError, Rejection};
use crate::offer::Way;
use crate::public::refusal::{Cause, outcome, tell, word};
use crate::shared::Shared;
use crate::stream::datagrams::{CarriedEnd, ConnectedEnd, DatagramsOver, relay_datagrams};
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::wire::datagrams::{Ended, measure};
use crate::wire::{FailReason, Requested};

/// The requests of one client address.
pub(super) struct DatagramRequest<N: Net> {
    pub(super) shared: Arc<Shared<N>>,
    /// The port.
    pub(super) socket: Arc<N::Datagrams>,
    /// Where it is bound.
    pub(super) dest: Option<SocketAddr>,
    /// The name that it routes to.
    pub(super) name: Name,
    /// Its place among the clients of the port.
    pub(super) seat: Seat,
}

/// What the datagrams of a client go to from here.
enum Backend<N: Net> {
    Data(Side<Transport<N::Stream>>),
    Own(ConnectedEnd<N::Datagrams>),
}

impl<N: Net> Onward<N> for Backend<N> {
    fn through(data: Side<Transport<N::Stream>>) -> Self {
        Self::Data(data)
    }

    async fn own(
        shared: &Shared<N>,
        id: ProxyId,
        requested: &Requested,
    ) -> Result<(Self, Option<Registered>), FailReason> {
        let connected = connect_datagrams(shared, id, requested, &requested.name).await;
        connected.map(|(socket, outgoing)| (Self::Own(socket), outgoing))
    }
}

impl<N: Net> DatagramRequest<N> {
    /// Serves the client until it is idle.
    pub(super) async fn serve(self) {
        let _busy = self.shared.tasks.busy();
        loop {
            let mut ahead = BytesMut::new();
            if self.seat.take(&mut ahead) != Standing::Taken {
                return;
            }
            if !self.serve_one(ahead).await || self.seat.leave_if_nothing_waits() {
                return;
            }
        }
    }

    /// Serves one request, whose first datagrams are given; whether it went well.
    async fn serve_one(&self, mut ahead: BytesMut) -> bool {
        let Self { shared, dest, name, seat, .. } = self;
        if shared.tasks.phase() >= Phase::Finishing {
            shared.metrics.rejected(Rejection::Draining);
            self.refuse(&ahead, Cause::Draining);
            return false;
        }
        // Boxed, so that the request does not hold the room for it while datagrams flow.
        let forwarded = Box::pin(async {
            let head = |_, _| Cow::Borrowed(&ahead[..]);
            let asked = Asked {
                id: None,
                deadline: None,
                name,
                way: Way::Udp,
                protocol: Protocol::Udp,
                source: seat.place.client(),
                dest: *dest,
                tls: None,
                trace: None,
                head: &head,
            };
            let displaced = pin!(seat.displaced());
            let forwarded = forward::<N, Backend<N>>(shared, asked, displaced).await;
            forwarded.map(|forwarded| forwarded.log(&asked, false))
        });
        match forwarded.await {
            Ok(forwarded) => {
                if forwarded.head_sent {
                    ahead.clear();
                }
                self.carry(forwarded, ahead).await
            }
            Err(why) => {
                self.refuse(&ahead, Cause::NotForwarded(why));
                false
            }
        }
    }

    /// Carries it to its end; whether that was a good one.
    async fn carry(&self, forwarded: Forwarded<N, Backend<N>>, ahead: BytesMut) -> bool {
        let Self { shared, socket, seat, .. } = self;
        let Forwarded { request, backend, assigned, id, outgoing: _outgoing, .. } = forwarded;
        let client = ClientEnd { seat, socket: &**socket, ahead: Mutex::new(ahead) };
        let idle: Duration = shared.config().timing.udp_idle;
        let leaving = shared.tasks.entered(Phase::Finishing);
        let over = match backend {
            Backend::Own(backend) => {
                let carried = relay_datagrams(&client, &backend, &request, idle, leaving);
                let over = shared.tasks.until_closing(carried).await;
                if let Some(Ok(DatagramsOver { why: Ended::Refused, .. })) = over {
                    refused_datagrams(shared, id, &self.name, seat.place.client());
                }
                over
            }
            Backend::Data(mut data) => {
                let over = {
                    let backend = CarriedEnd::new(&shared.net, &mut data);
                    let carried = relay_datagrams(&client, &backend, &request, idle, leaving);
                    shared.tasks.until_closing(carried).await
                };
                match &over {
                    Some(Ok(DatagramsOver { why: Ended::Quiet, is_agreed: true })) => {
                        assigned.keep(data);
                    }
                    Some(Ok(DatagramsOver { is_agreed: true, .. })) => drop(data),
                    // The peer there may not take the cut for an end.
                    _ => shared.abort(data.stream),
                }
                over
            }
        };
        self.lost(&client.into_ahead());
        let (reason, error) = match over {
            Some(Ok(DatagramsOver { why: Ended::Quiet, .. })) => {
                request.succeeded();
                return true;
            }
            Some(Ok(DatagramsOver { why: Ended::Refused, .. })) => {
                (ProxyError::BackendUnreachable, "the backend refuses datagrams".to_owned())
            }
            Some(Err(error)) => (ProxyError::DataIoError, error.to_string()),
            None => (ProxyError::DataIoError, "this process is shutting down".to_owned()),
        };
        tracing::debug!(%id, %error, "a request over UDP failed");
        request.failed(reason);
        false
    }

    /// No request carries these on.
    fn lost(&self, datagrams: &[u8]) {
        let lost = measure(datagrams).datagrams;
        self.shared.metrics.datagrams_lost(DatagramLoss::NoRequest, lost);
    }

    /// Nobody tells the client; the count and the access log do.
    fn refuse(&self, ahead: &[u8], cause: Cause) {
        self.lost(ahead);
        tell(&self.shared, self.seat.place.client(), &self.name, Way::Udp, cause);
        let Some(log) = &self.shared.access else { return };
        log.take(Access {
            id: None,
            number: None,
            client: Some(self.seat.place.client()),
            name: Some(self.name.clone()),
            way: Some(Way::Udp),
            line: None,
            status: None,
            sent: 0,
            received: 0,
            duration: Duration::ZERO,
            first_byte: None,
            provider: None,
            outcome: outcome(cause),
            reason: Some(word(cause)),
        });
    }
}
