//! One FORWARD on the connecting side: dials the backend, answers with DATA, and
//! carries the request.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::pass_on::{is_passed_on, pass_on};
use super::reached::{Backend, By, Half, Reached};
use crate::backend::{connect_backend, connect_datagrams, refused_datagrams};
use crate::limits::STRETCH_END;
use crate::names::ProxyId;
use crate::observe::access::{Access, Outcome, Provided};
use crate::observe::journal::{Kind, Known, Running, ServedBy};
use crate::observe::metrics::{ClientFailure, DatagramLoss, Incident, Metrics, ServedStats};
use crate::offer::Way;
use crate::shared::Shared;
use crate::stream::control::write_line;
use crate::stream::datagrams::{CarriedEnd, ConnectedEnd, relay_datagrams};
use crate::stream::net::Net;
use crate::stream::relay::{Meter, RelayError, Side};
use crate::stream::transport::{Transport, relay};
use crate::tasks::Phase;
use crate::trust::Token;
use crate::upstream::{DialPeerError, Target};
use crate::wire::datagrams::Ended;
use crate::wire::frames::Frames;
use crate::wire::{FailReason, Line, Requested};

/// One FORWARD being served.
pub(super) struct Serving<N: Net> {
    /// The peer that serves it.
    pub shared: Arc<Shared<N>>,
    /// The listening peer that asked.
    pub target: Arc<Target>,
    /// The request's id.
    pub id: ProxyId,
    /// What was asked for.
    pub requested: Requested,
    /// The numbers of the service; none, where it is passed on to another peer.
    served: Option<Arc<ServedStats>>,
}

/// Counts a FORWARD from its coming to its end, also with its task.
pub(super) struct Active {
    metrics: Arc<Metrics>,
    served: Option<Arc<ServedStats>>,
    outcome: Result<(), ClientFailure>,
}

impl Active {
    /// A FORWARD came.
    pub(super) fn begin<N: Net>(serving: &Serving<N>) -> Self {
        let (metrics, served) = (serving.shared.metrics.clone(), serving.served.clone());
        metrics.client_forward_began();
        if let Some(served) = &served {
            served.began();
        }
        Self { metrics, served, outcome: Err(ClientFailure::DataIoError) }
    }

    /// It ended this way.
    pub(super) fn end(mut self, outcome: Result<(), ClientFailure>) {
        self.outcome = outcome;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.metrics.client_forward_ended(self.outcome);
        if let Some(served) = &self.served {
            served.ended(self.outcome.is_err());
        }
    }
}

impl<N: Net> Serving<N> {
    /// What `target` has asked for, and has come.
    pub(super) fn new(
        shared: Arc<Shared<N>>,
        target: Arc<Target>,
        id: ProxyId,
        requested: Requested,
    ) -> Self {
        let served = (!is_passed_on(&shared, &requested)).then(|| {
            let config = shared.config();
            let own = config.services.get_key_value(&requested.name).map(|(name, _)| name);
            shared.metrics.served(own, &target.upstream)
        });
        Self { shared, target, id, requested, served }
    }

    /// Tells operators, and the access log, that there is no room for it.
    pub(super) fn tell_overloaded(&self) {
        self.log(&self.tally(), Err(ClientFailure::Overloaded));
    }

    /// Serves it on a DATA connection of its own.
    ///
    /// # Errors
    /// [`NotServed`]; what is untold is the reason of a FAIL.
    pub(super) async fn by_dialling(&self) -> Result<(), NotServed<FailReason>> {
        let tally = self.tally();
        let ended = self.dial_and_carry(&tally).await;
        self.log(&tally, counted(&ended));
        ended
    }

    async fn dial_and_carry(&self, tally: &Tally) -> Result<(), NotServed<FailReason>> {
        let (mut data, mut reached) = self
            .connect()
            .await
            .map_err(|(reason, failure)| NotServed { failure, untold: Some(reason) })?;
        let ended = self.carry(&mut data, &mut reached, tally).await;
        let Err(error) = ended else {
            reached.succeeded();
            return Ok(());
        };
        self.shared.abort(data.stream);
        reached.failed(&self.shared);
        // The listening peer may have refused the DATA connection, which TLS 1.3 tells after
        // the handshake: then the request still waits. One that does not wait is not
        // concerned.
        let untold = error.is_of_data.then_some(FailReason::Overloaded);
        Err(NotServed { failure: error.failure, untold })
    }

    /// Serves it on the connection that it came on, behind which `ahead` was read,
    /// and returns that if it can carry another. `answered` is called before DATA is
    /// written.
    ///
    /// # Errors
    /// [`NotServed`]; what is untold goes back on that connection, which is then closed.
    pub(super) async fn in_place(
        &self,
        data: Transport<N::Stream>,
        ahead: Bytes,
        answered: impl FnOnce(),
    ) -> Result<Option<Kept<N>>, NotServed<Refused<N>>> {
        let tally = self.tally();
        let ended = self.carry_in_place(data, ahead, answered, &tally).await;
        self.log(&tally, counted(&ended));
        ended
    }

    async fn carry_in_place(
        &self,
        mut data: Transport<N::Stream>,
        ahead: Bytes,
        answered: impl FnOnce(),
        tally: &Tally,
    ) -> Result<Option<Kept<N>>, NotServed<Refused<N>>> {
        let first = Frames::split_first(&ahead);
        let head = first.as_ref().map_or(&b""[..], |(head, _)| head);
        let mut reached = match self.reach(head).await {
            Ok(reached) => reached,
            Err((reason, failure)) => {
                return Err(NotServed { failure, untold: Some((data, reason)) });
            }
        };
        answered();
        if let Err(error) =
            write_line(&mut data, &Line::Data { id: self.id, token: None, to: None }).await
        {
            tracing::debug!(id = %self.id, %error, "idle DATA connection failed");
            self.shared.abort(data);
            reached.failed(&self.shared);
            return Err(ClientFailure::DataIoError.into());
        }
        let ahead = first.filter(|_| reached.head_sent).map_or(ahead, |(_, rest)| rest);
        let mut data = Side { stream: data, frames: Frames::framed(ahead) };
        if let Err(error) = self.carry(&mut data, &mut reached, tally).await {
            self.shared.abort(data.stream);
            reached.failed(&self.shared);
            return Err(error.failure.into());
        }
        reached.succeeded();
        let Side { stream, frames } = data;
        Ok(frames.into_spent().map(|ahead| (stream, ahead)))
    }

    fn tally(&self) -> Tally {
        let Self { shared, target, id, requested, served } = self;
        // What is passed on is told of as a request that was routed here.
        let running = served.is_some().then(|| {
            let config = shared.config();
            let own = config.services.get_key_value(&requested.name);
            shared.journal.begin(Known {
                kind: Kind::Served,
                id: *id,
                client: requested.source,
                name: own.map_or(&requested.name, |(name, _)| name).clone(),
                way: requested.way,
                by: ServedBy::Local,
                asked_by: target.hub().cloned().map(Box::new),
                span: shared.span(requested.trace),
            })
        });
        let served = served.clone().zip(running);
        Tally { metrics: shared.metrics.clone(), served }
    }

    /// Tells operators of its end, and the access log, if there is one.
    fn log(&self, tally: &Tally, ended: Result<(), ClientFailure>) {
        let Some((_, running)) = &tally.served else { return };
        let duration = running.end(ended.err().map(Into::into));
        let Some(log) = &self.shared.access else { return };
        let Requested { name, way, source, .. } = &self.requested;
        log.take(Access {
            id: Some(self.id),
            number: None,
            client: Some(*source),
            name: Some(name.clone()),
            way: Some(*way),
            line: None,
            status: None,
            sent: running.sent(),
            received: running.received(),
            duration,
            first_byte: running.first_byte(),
            provider: Some(Provided::Local),
            outcome: if ended.is_ok() { Outcome::Ok } else { Outcome::Failed },
            reason: ended.err().map(ClientFailure::as_str),
        });
    }

    async fn carry(
        &self,
        data: &mut Half<N>,
        reached: &mut Reached<N>,
        tally: &Tally,
    ) -> Result<(), Broken> {
        tally.is_connected();
        let Reached { backend, by, .. } = reached;
        let net = &self.shared.net;
        let carried = async {
            match (backend, by) {
                (Backend::Stream(next), By::Another(passed)) => {
                    relay(net, data, next, &passed.request).await.map(|()| Ended::Quiet)
                }
                (Backend::Stream(backend), By::Own(_)) => {
                    relay(net, data, backend, tally).await.map(|()| Ended::Quiet)
                }
                (Backend::Datagrams(backend), _) => {
                    self.carry_datagrams(data, backend, tally).await
                }
            }
        };
        let ended = self.shared.tasks.until_closing(carried).await;
        let (error, is_of_data) = match ended {
            Some(Ok(Ended::Quiet)) => return Ok(()),
            Some(Ok(Ended::Refused)) => {
                let Requested { name, source, .. } = &self.requested;
                refused_datagrams(&self.shared, self.id, name, *source);
                return Err(Broken { is_of_data: false, failure: ClientFailure::BackendRefused });
            }
            Some(Err(error)) => (error.to_string(), matches!(error, RelayError::Public(_))),
            None => ("this process is shutting down".to_owned(), false),
        };
        tracing::debug!(id = %self.id, name = %self.requested.name, %error, "forwarded request failed");
        Err(Broken { is_of_data, failure: ClientFailure::DataIoError })
    }

    async fn carry_datagrams(
        &self,
        data: &mut Half<N>,
        backend: &ConnectedEnd<N::Datagrams>,
        tally: &Tally,
    ) -> Result<Ended, RelayError> {
        let shared = &self.shared;
        // The listening peer, which knows the client, is to end it first.
        let idle = shared.config().timing.udp_idle + STRETCH_END;
        let leaving = shared.tasks.entered(Phase::Finishing);
        let data = CarriedEnd::new(&shared.net, data);
        Ok(relay_datagrams(&data, backend, tally, idle, leaving).await?.why)
    }

    /// Backend first, then DATA: a DATA connection that arrives is ready. Both share one
    /// deadline, because FAIL must reach the listening peer before it gives up.
    async fn connect(&self) -> Result<(Half<N>, Reached<N>), Failure> {
        let deadline = Instant::now() + self.shared.config().timing.answer();
        let reached = self.reach(b"").await?;
        let dialled = timeout_at(deadline, self.dial_data()).await;
        let data = dialled.unwrap_or(Err(DialPeerError::Late)).map_err(|error| {
            let (id, name) = (self.id, &self.requested.name);
            if self.shared.may_log(&self.target.upstream, Incident::DataDial) {
                tracing::warn!(%id, %name, %error, "cannot open a DATA connection to the listening peer");
            }
            (FailReason::Overloaded, ClientFailure::DataDial)
        })?;
        let (stream, ahead) = data;
        Ok((Side::raw(stream, ahead), reached))
    }

    /// The backend, or the peer that is to be asked for it, which `head` may be sent to.
    async fn reach(&self, head: &[u8]) -> Result<Reached<N>, Failure> {
        let Self { shared, id, requested, target, served } = self;
        if served.is_none() {
            return pass_on(shared, *id, requested, head).await.map_err(fail);
        }
        let upstream = &target.upstream;
        let (backend, outgoing) = if requested.way == Way::Udp {
            let connected = connect_datagrams(shared, *id, requested, upstream).await;
            let (socket, outgoing) = connected.map_err(fail)?;
            (Backend::Datagrams(socket), outgoing)
        } else {
            let connected = connect_backend(shared, *id, requested, upstream).await;
            let (stream, outgoing) = connected.map_err(fail)?;
            (Backend::Stream(Side::raw(Transport::Plain(stream), Bytes::new())), outgoing)
        };
        Ok(Reached { backend, head_sent: false, by: By::Own(outgoing) })
    }

    async fn dial_data(&self) -> Result<(Transport<N::Stream>, Bytes), DialPeerError> {
        let (id, peer) = (self.id, &self.shared.peer_id);
        let line = |token: Option<(Token, [u8; 32])>, to| {
            let prove = |(token, exporter): (Token, [u8; 32])| {
                (peer.clone(), token.data_proof(&exporter, id, peer))
            };
            Line::Data { id, token: token.map(prove), to }
        };
        self.target.dial_data(&self.shared, line).await
    }
}

/// A DATA connection that can carry another request, and what was read behind this one.
pub(super) type Kept<N> = (Transport<<N as Net>::Stream>, Bytes);

/// A DATA connection on which FAIL goes back, with this reason.
pub(super) type Refused<N> = (Transport<<N as Net>::Stream>, FailReason);

/// A FORWARD was not served to its end. FAIL is sent once that is counted: whoever reads it finds
/// it counted.
pub(super) struct NotServed<T> {
    /// How that is counted.
    pub failure: ClientFailure,
    /// What the listening peer does not know yet.
    pub untold: Option<T>,
}

impl<T> From<ClientFailure> for NotServed<T> {
    /// With nothing to tell.
    fn from(failure: ClientFailure) -> Self {
        Self { failure, untold: None }
    }
}

/// How the end of a FORWARD is counted.
pub(super) fn counted<T, U>(ended: &Result<T, NotServed<U>>) -> Result<(), ClientFailure> {
    ended.as_ref().map(drop).map_err(|not_served| not_served.failure)
}

/// A forwarded request broke.
struct Broken {
    /// It was the DATA connection that failed.
    is_of_data: bool,
    /// How that is counted.
    failure: ClientFailure,
}

/// What the listening peer is told, and what is counted here.
type Failure = (FailReason, ClientFailure);

fn fail(reason: FailReason) -> Failure {
    (reason, reason.into())
}

/// The numbers of a FORWARD that is served here; the metrics of a request are those of the
/// listening side.
struct Tally {
    metrics: Arc<Metrics>,
    /// None, where it is passed on.
    served: Option<(Arc<ServedStats>, Running)>,
}

impl Tally {
    fn is_connected(&self) {
        if let Some((_, running)) = &self.served {
            running.is_connected(None);
        }
    }
}

impl Meter for Tally {
    fn sent(&self, bytes: usize) {
        if let Some((served, running)) = &self.served {
            served.sent(bytes);
            running.add_sent(bytes);
        }
    }

    fn received(&self, bytes: usize) {
        if let Some((served, running)) = &self.served {
            served.received(bytes);
            running.add_received(bytes);
        }
    }

    fn lost(&self, datagrams: usize) {
        self.metrics.datagrams_lost(DatagramLoss::Unsendable, datagrams);
    }
}
