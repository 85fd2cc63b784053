//! One FORWARD on the connecting side: dials the backend, answers with DATA, and
//! carries the request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::upstream::{DialledPeer, dial_peer};
use crate::backend::{connect_backend, connect_datagrams, refused_datagrams};
use crate::config::Endpoint;
use crate::limits::{STRETCH_END, WRITE_TIMEOUT};
use crate::mesh::outgoing::Registered;
use crate::names::ProxyId;
use crate::observe::access::{Access, Outcome, Provided};
use crate::observe::metrics::{ClientFailure, DatagramLoss, Incident, Metrics};
use crate::offer::Way;
use crate::shared::Shared;
use crate::stream::datagrams::{CarriedEnd, ConnectedEnd, relay_datagrams};
use crate::stream::lingering::close_after;
use crate::stream::net::Net;
use crate::stream::relay::{Meter, RelayError, Side};
use crate::stream::transport::{Transport, relay};
use crate::tasks::Phase;
use crate::wire::datagrams::Ended;
use crate::wire::frames::Frames;
use crate::wire::{FailReason, Line, Requested};

/// One FORWARD being served.
pub(super) struct Serving<N: Net> {
    /// The peer that serves it.
    pub shared: Arc<Shared<N>>,
    /// The listening peer that asked.
    pub upstream: Endpoint,
    /// The request's id.
    pub id: ProxyId,
    /// What was asked for.
    pub requested: Requested,
}

/// Counts a FORWARD from its coming to its end, also with its task.
pub(super) struct Active {
    metrics: Arc<Metrics>,
    outcome: Result<(), ClientFailure>,
}

impl Active {
    /// A FORWARD came.
    pub(super) fn begin(metrics: Arc<Metrics>) -> Self {
        metrics.client_forward_began();
        Self { metrics, outcome: Err(ClientFailure::DataIoError) }
    }

    /// It ended this way.
    pub(super) fn end(mut self, outcome: Result<(), ClientFailure>) {
        self.outcome = outcome;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.metrics.client_forward_ended(self.outcome);
    }
}

impl<N: Net> Serving<N> {
    /// Serves it on a DATA connection of its own.
    ///
    /// # Errors
    /// How it failed, for the count; the listening peer was told.
    pub(super) async fn by_dialling(
        &self,
        failed: &mpsc::Sender<Line>,
    ) -> Result<(), ClientFailure> {
        let tally = Tally::begin(self.shared.metrics.clone());
        let ended = self.dial_and_carry(failed, &tally).await;
        self.log(&tally, ended);
        ended
    }

    async fn dial_and_carry(
        &self,
        failed: &mpsc::Sender<Line>,
        tally: &Tally,
    ) -> Result<(), ClientFailure> {
        let (mut data, mut backend, _outgoing) = match self.connect().await {
            Ok(both) => both,
            Err((reason, failure)) => {
                // A link that has ended has failed the request already.
                let _ = failed.send(Line::Fail(self.id, reason)).await;
                return Err(failure);
            }
        };
        let ended = self.carry(&mut data, &mut backend, tally).await;
        let Err(error) = ended else { return Ok(()) };
        if error.is_of_data {
            // The listening peer may have refused the DATA connection, which TLS 1.3
            // tells after the handshake: then the request still waits. One that does
            // not wait is not concerned.
            let _ = failed.send(Line::Fail(self.id, FailReason::Overloaded)).await;
        }
        self.shared.abort(data.stream);
        backend.abort(&self.shared);
        Err(error.failure)
    }

    /// Serves it on the connection that it came on, behind which `ahead` was read,
    /// and returns that if it can carry another. `answered` is called before DATA is
    /// written.
    ///
    /// # Errors
    /// As [`by_dialling`](Self::by_dialling).
    pub(super) async fn in_place(
        &self,
        data: Transport<N::Stream>,
        ahead: Bytes,
        answered: impl FnOnce(),
    ) -> Result<Option<(Transport<N::Stream>, Bytes)>, ClientFailure> {
        let tally = Tally::begin(self.shared.metrics.clone());
        let ended = self.carry_in_place(data, ahead, answered, &tally).await;
        self.log(&tally, ended.as_ref().map(drop).map_err(|failure| *failure));
        ended
    }

    async fn carry_in_place(
        &self,
        mut data: Transport<N::Stream>,
        ahead: Bytes,
        answered: impl FnOnce(),
        tally: &Tally,
    ) -> Result<Option<(Transport<N::Stream>, Bytes)>, ClientFailure> {
        let (mut backend, _outgoing) = match self.dial_backend().await {
            Ok(backend) => backend,
            Err((reason, failure)) => {
                let line = format!("{}\n", Line::Fail(self.id, reason));
                close_after(data, line.as_bytes()).await;
                return Err(failure);
            }
        };
        answered();
        if let Err(error) = write_line(&mut data, &Line::Data { id: self.id, token: None }).await {
            tracing::debug!(id = %self.id, %error, "idle DATA connection failed");
            self.shared.abort(data);
            return Err(ClientFailure::DataIoError);
        }
        let mut data = Side { stream: data, frames: Frames::framed(ahead) };
        if let Err(error) = self.carry(&mut data, &mut backend, tally).await {
            self.shared.abort(data.stream);
            backend.abort(&self.shared);
            return Err(error.failure);
        }
        let Side { stream, frames } = data;
        Ok(frames.into_spent().map(|ahead| (stream, ahead)))
    }

    /// Tells the access log of it, if there is one.
    fn log(&self, tally: &Tally, ended: Result<(), ClientFailure>) {
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
            sent: tally.sent.load(Relaxed),
            received: tally.received.load(Relaxed),
            duration: tally.begun.elapsed(),
            first_byte: tally.first_byte.get().copied(),
            provider: Some(Provided::Local),
            outcome: if ended.is_ok() { Outcome::Ok } else { Outcome::Failed },
            reason: ended.err().map(ClientFailure::as_str),
        });
    }

    async fn carry(
        &self,
        data: &mut Half<N>,
        backend: &mut Backend<N>,
        tally: &Tally,
    ) -> Result<(), Broken> {
        let carried = async {
            match backend {
                Backend::Stream(backend) => {
                    relay(&self.shared.net, data, backend, tally).await.map(|()| Ended::Quiet)
                }
                Backend::Datagrams(backend) => self.carry_datagrams(data, backend, tally).await,
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
        let idle = shared.config.timing.udp_idle + STRETCH_END;
        let leaving = shared.tasks.entered(Phase::Finishing);
        let data = CarriedEnd::new(&shared.net, data);
        Ok(relay_datagrams(&data, backend, tally, idle, leaving).await?.why)
    }

    /// Backend first, then DATA: a DATA connection that arrives is ready. Both share one
    /// deadline, because FAIL must reach the listening peer before it gives up.
    async fn connect(&self) -> Result<(Half<N>, Backend<N>, Option<Registered>), Failure> {
        let deadline = Instant::now() + self.shared.config.timing.answer();
        let (backend, outgoing) = self.dial_backend().await?;
        let dialled = timeout_at(deadline, self.dial_data()).await;
        let data = dialled.unwrap_or_else(|late| Err(late.into())).map_err(|error| {
            let (id, name) = (self.id, &self.requested.name);
            if self.shared.may_log(&self.upstream, Incident::DataDial) {
                tracing::warn!(%id, %name, %error, "cannot open a DATA connection to the listening peer");
            }
            (FailReason::Overloaded, ClientFailure::DataDial)
        })?;
        Ok((Side::raw(data, Bytes::new()), backend, outgoing))
    }

    async fn dial_backend(&self) -> Result<(Backend<N>, Option<Registered>), Failure> {
        let Self { shared, id, requested, upstream } = self;
        if requested.way == Way::Udp {
            let connected = connect_datagrams(shared, *id, requested, upstream).await;
            let (socket, outgoing) = connected.map_err(fail)?;
            return Ok((Backend::Datagrams(socket), outgoing));
        }
        let (stream, outgoing) =
            connect_backend(shared, *id, requested, upstream).await.map_err(fail)?;
        let stream = Side::raw(Transport::Plain(stream), Bytes::new());
        Ok((Backend::Stream(stream), outgoing))
    }

    async fn dial_data(
        &self,
    ) -> Result<Transport<N::Stream>, Box<dyn std::error::Error + Send + Sync>> {
        let DialledPeer { mut stream, token, .. } = dial_peer(&self.shared, &self.upstream).await?;
        let peer = &self.shared.config.peer_id;
        let token = token
            .map(|(token, exporter)| (peer.clone(), token.data_proof(&exporter, self.id, peer)));
        write_line(&mut stream, &Line::Data { id: self.id, token }).await?;
        Ok(stream)
    }
}

/// Writes one line, within [`WRITE_TIMEOUT`].
///
/// # Errors
/// As the stream's own, or that it took too long.
pub(super) async fn write_line<S>(
    stream: &mut S,
    line: &Line,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncWriteExt + Unpin,
{
    let line = format!("{line}\n");
    let writing = async {
        stream.write_all(line.as_bytes()).await?;
        stream.flush().await
    };
    Ok(timeout(WRITE_TIMEOUT, writing).await??)
}

/// One end of a forwarded request.
type Half<N> = Side<Transport<<N as Net>::Stream>>;

/// A backend that is ready.
enum Backend<N: Net> {
    Stream(Half<N>),
    Datagrams(ConnectedEnd<N::Datagrams>),
}

impl<N: Net> Backend<N> {
    /// Lets it take what was cut for no clean end.
    fn abort(self, shared: &Shared<N>) {
        match self {
            Self::Stream(side) => shared.abort(side.stream),
            // Datagrams have no end.
            Self::Datagrams(_) => {}
        }
    }
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

/// The numbers of a FORWARD, for the access log; the metrics of a request are those of the
/// listening side.
struct Tally {
    metrics: Arc<Metrics>,
    begun: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    first_byte: OnceLock<Duration>,
}

impl Tally {
    fn begin(metrics: Arc<Metrics>) -> Self {
        let zero = || AtomicU64::new(0);
        let (sent, received) = (zero(), zero());
        Self { metrics, begun: Instant::now(), sent, received, first_byte: OnceLock::new() }
    }
}

impl Meter for Tally {
    fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        if self.first_byte.get().is_none() {
            self.first_byte.get_or_init(|| self.begun.elapsed());
        }
    }

    fn lost(&self, datagrams: usize) {
        self.metrics.datagrams_lost(DatagramLoss::Unsendable, datagrams);
    }
}
