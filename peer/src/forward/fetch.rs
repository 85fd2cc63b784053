//! Fetches a DATA connection from a provider: sends FORWARD down an idle DATA
//! connection of its link, or down the link itself, and waits for the answer.
//!
//! Down an idle connection, the request's first bytes go right behind the FORWARD.
//! One that turns out to have ended costs a second FORWARD of the same id, down the
//! link, which the connecting peer does not serve twice.

use std::borrow::Cow;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use super::asked::Asked;
use crate::limits::IDLE_DATA_FRESH;
use crate::mesh::links::Idle;
use crate::mesh::outgoing::Registered;
use crate::mesh::routes::LinkId;
use crate::mesh::tables::Assignment;
use crate::mesh::waiting::{Forward, ForwardError};
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::LogSource;
use crate::observe::metrics::{IdleResult, Incident};
use crate::shared::Shared;
use crate::stream::control::first_line;
use crate::stream::net::Net;
use crate::stream::quiet::is_quiet;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;
use crate::trust::Permission;
use crate::wire::frames::{FRAME_BYTES, Frames};
use crate::wire::{Line, LineBuffer};
use crate::workers::Place;

/// What is ready to carry a request: a DATA connection, unless it was turned into something
/// else or is a backend of our own.
pub(super) struct Fetched<B> {
    /// The connection.
    pub data: B,
    /// The request's id.
    pub id: ProxyId,
    /// How many of the request's first bytes went with the FORWARD: all, or none.
    pub head_sent: usize,
    /// What it showed, where that is not what its link showed.
    pub shows: Option<Box<Permission>>,
    /// That a backend of our own is dialled, while it is.
    pub outgoing: Option<Registered>,
    /// What the listening peer that was asked has said, if one was.
    pub upstream: Option<Upstream>,
}

/// A listening peer that has routed a request for us.
pub(super) struct Upstream {
    /// Who it is.
    pub hub: Option<PeerId>,
    /// The backend is to learn who the client is from the head of each HTTP request.
    pub forwarded: bool,
}

/// A DATA connection.
pub(super) type Data<N> = Side<Transport<<N as Net>::Stream>>;

impl<B> Fetched<B> {
    /// A DATA connection.
    pub(super) fn data(id: ProxyId, data: B, head_sent: usize) -> Self {
        Self { id, data, head_sent, shows: None, outgoing: None, upstream: None }
    }

    /// The same, as its request uses it.
    pub(super) fn map<C>(self, turn: impl FnOnce(B) -> C) -> Fetched<C> {
        let Self { data, id, head_sent, shows, outgoing, upstream } = self;
        Fetched { data: turn(data), id, head_sent, shows, outgoing, upstream }
    }
}

/// No DATA connection came.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotFetched {
    /// How it failed.
    pub error: ForwardError,
    /// Whether the backend has certainly seen none of the request's bytes, so that
    /// another provider may be asked.
    pub untouched: bool,
}

impl From<ForwardError> for NotFetched {
    /// With no byte sent.
    fn from(error: ForwardError) -> Self {
        Self { error, untouched: true }
    }
}

/// One request on its way to a provider.
struct Fetch<'a, N: Net> {
    shared: &'a Shared<N>,
    link: LinkId,
    id: ProxyId,
    line: Line,
    deadline: Instant,
}

/// Sends FORWARD and waits for its DATA connection. Whatever happens, the id has
/// left the table of pending ids when this returns or is dropped.
///
/// # Errors
/// [`NotFetched`].
pub(super) async fn fetch_data<N: Net>(
    shared: &Shared<N>,
    assignment: &Assignment,
    link: LinkId,
    asked: Asked<'_>,
    reset: Pin<&mut impl Future<Output = ()>>,
) -> Result<Fetched<Data<N>>, NotFetched> {
    let id = asked.id.unwrap_or_else(|| shared.proxy_id());
    let line = Line::Forward(id, asked.requested(&assignment.name));
    let deadline = asked.deadline(shared.config().timing.data_timeout);
    let fetch = Fetch { shared, link, id, line, deadline };
    let _waiting = Waiting { shared, id };
    match take_alive(shared, link, &assignment.name).await {
        Some(idle) => fetch.down_idle(assignment, idle, asked, reset).await,
        None => fetch.down_link(assignment, reset).await,
    }
}

impl<N: Net> Fetch<'_, N> {
    fn forward(&self) -> Forward {
        Forward { id: self.id, line: self.line.clone() }
    }

    async fn down_link(
        self,
        assignment: &Assignment,
        reset: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Fetched<Data<N>>, NotFetched> {
        let (mesh, id) = (&self.shared.mesh, self.id);
        let mut answer = mesh.forward(self.link, assignment, self.forward(), self.deadline)?;
        let given_up = tokio::select! {
            biased;
            answer = &mut answer => {
                let data = answer.unwrap_or(Err(ForwardError::LinkLost))?;
                return Ok(Fetched::data(id, settled(self.shared, data).await, 0));
            }
            () = reset => mesh.abandon(self.id),
            () = sleep_until(self.deadline) => mesh.expire(self.id),
        };
        let data = match given_up {
            Some(error) => Err(error),
            // Taken in the very last moment; the answer is on its way.
            None => answer.await.unwrap_or(Err(ForwardError::LinkLost)),
        };
        Ok(Fetched::data(id, settled(self.shared, data?).await, 0))
    }

    async fn down_idle(
        self,
        assignment: &Assignment,
        idle: Idle<Transport<N::Stream>>,
        asked: Asked<'_>,
        mut reset: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Fetched<Data<N>>, NotFetched> {
        let Self { shared, link, id, deadline, .. } = self;
        let Idle { stream, since, shows, .. } = idle;
        let is_fresh = since.elapsed() <= IDLE_DATA_FRESH;
        let head = match is_fresh {
            true => (asked.head)(id, assignment.forwarded),
            false => Cow::Borrowed(&b""[..]),
        };
        let head: &[u8] = if head.len() <= FRAME_BYTES { &head } else { b"" };
        let mut answer = shared.mesh.await_data(link, assignment, id, deadline)?;
        let written = AtomicBool::new(false);
        let mut asking = pin!(self.ask(stream, head, &written));
        // Without bytes behind it, a FORWARD may be sent twice as soon as it seems
        // lost: on the way of an idle connection, a middlebox may have forgotten it.
        let patience = Instant::now() + shared.config().timing.data_timeout / 2;
        let (mut has_asked, mut again) = (false, false);
        let dialled = loop {
            let result = tokio::select! {
                biased;
                answer = &mut answer => break answer.unwrap_or(Err(ForwardError::LinkLost)),
                result = &mut asking, if !has_asked => {
                    has_asked = true;
                    result
                }
                () = sleep_until(patience), if !has_asked && !again && head.is_empty() => {
                    IdleResult::Late
                }
                () = &mut reset => match shared.mesh.abandon(id) {
                    Some(error) => break Err(error),
                    None => break answer.await.unwrap_or(Err(ForwardError::LinkLost)),
                },
                () = sleep_until(deadline) => match shared.mesh.expire(id) {
                    Some(error) => break Err(error),
                    None => break answer.await.unwrap_or(Err(ForwardError::LinkLost)),
                },
            };
            shared.metrics.idle_data_forward(result);
            if result != IdleResult::Answered && !again {
                again = true;
                // If the link has ended, so has the wait; if it is too far behind, the
                // deadline will tell.
                let _ = shared.mesh.forward_again(link, self.forward());
            }
        };
        match dialled {
            // Only this task knows.
            Err(ForwardError::NotWritten) if written.load(Relaxed) => {
                shared.mesh.written_before_link_ended(assignment);
                Err(NotFetched { error: ForwardError::LinkLost, untouched: head.is_empty() })
            }
            Ok(data) => {
                let head_sent = if has_asked && !again { head.len() } else { 0 };
                let data = settled(shared, data).await;
                Ok(Fetched { shows, ..Fetched::data(id, data, head_sent) })
            }
            Err(error) => {
                let refused = matches!(error, ForwardError::Failed(_)) && !again;
                Err(NotFetched { error, untouched: head.is_empty() || refused })
            }
        }
    }

    /// Sends FORWARD and `head` down an idle connection and reads the answer, which
    /// the request gets from the mesh, as any other. `written` is set once both are, before
    /// the answer is read.
    async fn ask(
        &self,
        mut stream: Transport<N::Stream>,
        head: &[u8],
        written: &AtomicBool,
    ) -> IdleResult {
        let mut lines = LineBuffer::default();
        let asked = async {
            let mut bytes = format!("{}\n", self.line).into_bytes();
            if !head.is_empty() {
                bytes.extend_from_slice(&Frames::header(head));
                bytes.extend_from_slice(head);
            }
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            written.store(true, Relaxed);
            self.shared.mesh.forward_written(self.id);
            first_line(&mut stream, &mut lines).await.map_err(io::Error::other)
        };
        let answer = asked.await.map(|line| Line::parse(&line));
        match answer {
            Ok(Ok(Line::Data { id, token: None, to: None })) if id == self.id => {
                let frames = Frames::framed(lines.into_rest());
                // When the request has ended meanwhile, this closes the connection.
                let _ = self.shared.mesh.claim_idle(id, self.link, Side { stream, frames });
                IdleResult::Answered
            }
            Ok(Ok(Line::Fail(id, reason))) if id == self.id => {
                self.shared.mesh.fail(id, self.link, reason);
                IdleResult::Answered
            }
            Ok(_) => {
                self.shared.metrics.unexpected_data();
                if self.shared.may_log(LogSource::Anyone, Incident::WrongAnswer) {
                    tracing::warn!(id = %self.id, "closed an idle DATA connection: its answer was not for this request");
                }
                IdleResult::Stale
            }
            Err(_) => IdleResult::Stale,
        }
    }
}

/// A DATA connection that another task may have accepted, elsewhere.
async fn settled<N: Net>(shared: &Shared<N>, (mut data, from): (Data<N>, Place)) -> Data<N> {
    shared.net.settle(data.stream.inner_mut(), from).await;
    data
}

/// The idle DATA connection of a link that was used last, here if possible, may carry a request
/// for `name`, and has not ended since.
async fn take_alive<N: Net>(
    shared: &Shared<N>,
    link: LinkId,
    name: &Name,
) -> Option<Idle<Transport<N::Stream>>> {
    loop {
        let mut idle = shared.mesh.take_idle(link, name, Place::here())?;
        shared.net.settle(idle.stream.inner_mut(), idle.place).await;
        if is_quiet(&mut idle.stream) {
            return Some(idle);
        }
    }
}

/// Takes its id out of the table when the request goes away while waiting.
struct Waiting<'a, N: Net> {
    shared: &'a Shared<N>,
    id: ProxyId,
}

impl<N: Net> Drop for Waiting<'_, N> {
    fn drop(&mut self) {
        self.shared.mesh.expire(self.id);
    }
}
