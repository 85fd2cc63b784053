//! The places of admin connections: who comes gets one, whoever
//! [`connections`](super::connections) lets go for it is cut off, and a scrape waits here
//! for its turn.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::connections::{Connections, Id, TooManyStreams, Turn};
use crate::lock::Lock;
use crate::observe::metrics::{Metrics, Rejection};

/// Dropped to close its connection.
type Lifeline = oneshot::Sender<()>;

/// The places of one admin server.
#[derive(Debug)]
pub(super) struct Places {
    connections: Lock<Connections<Lifeline>>,
    /// Wakes the scrapes that wait.
    changed: Notify,
    metrics: Arc<Metrics>,
}

/// The place of one connection, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: Id,
}

/// A scrape under way, until dropped.
#[derive(Debug)]
pub(super) struct Scraping(Arc<Place>);

impl Places {
    /// All of them free.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let connections = Lock::new("the table of admin connections", Connections::new());
        Self { connections, changed: Notify::new(), metrics }
    }

    /// A place for a newcomer, whose connection is to be closed when the receiver ends.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> (Place, oneshot::Receiver<()>) {
        let (lifeline, let_go) = oneshot::channel();
        let (id, other) = self.connections.lock().enter(source, lifeline, Instant::now());
        self.let_go(other);
        (Place { places: self.clone(), id }, let_go)
    }

    fn let_go(&self, lifeline: Option<Lifeline>) {
        if lifeline.is_some() {
            self.metrics.rejected(Rejection::AdminLimit);
        }
    }
}

impl Place {
    /// Whether it is a stream of events, at any time from now on.
    pub(super) fn streams(&self) -> impl Fn() -> bool + use<> {
        let (places, id) = (self.places.clone(), self.id);
        move || places.connections.lock().is_stream(id)
    }

    /// Begins a stream of events, unless its source has as many as it may.
    pub(super) fn stream(&self) -> bool {
        let streamed = self.places.connections.lock().stream(self.id, Instant::now());
        match streamed {
            Ok(other) => {
                self.places.let_go(other);
                true
            }
            Err(TooManyStreams) => {
                self.places.metrics.rejected(Rejection::AdminLimit);
                false
            }
        }
    }

    /// The request has come, or a piece of the answer was taken.
    pub(super) fn moved(&self) {
        self.places.connections.lock().moved(self.id, Instant::now());
    }

    /// Waits for a scrape to begin; `None` when too many others want one.
    pub(super) async fn scrape(self: &Arc<Self>) -> Option<Scraping> {
        let places = &self.places;
        places.connections.lock().ask(self.id, Instant::now());
        loop {
            // From here on, so that no change goes unheard.
            let changed = places.changed.notified();
            let turn = places.connections.lock().turn(self.id, Instant::now());
            match turn {
                Turn::Wait(until) => drop(timeout_at(until, changed).await),
                Turn::Begin(other) => {
                    places.let_go(other);
                    places.changed.notify_waiters();
                    return Some(Scraping(self.clone()));
                }
                Turn::Refused => {
                    places.metrics.rejected(Rejection::AdminLimit);
                    places.changed.notify_waiters();
                    return None;
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.connections.lock().leave(self.id);
        self.places.changed.notify_waiters();
    }
}

impl Drop for Scraping {
    fn drop(&mut self) {
        self.0.places.connections.lock().scraped(self.0.id);
        self.0.places.changed.notify_waiters();
    }
}

/// A connection that says when what is written to it is taken.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) place: Arc<Place>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.place.moved();
        Poll::Ready(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.place.moved();
        Poll::Ready(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
