//! `/metrics`, also of a peer of very many names: numbers are read and text is
//! written a piece at a time, with room for others between two pieces.

use std::convert::Infallible;
use std::iter::Peekable;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::places::Scraping;
use crate::limits::{SCRAPE_CHUNK_BYTES, SNAPSHOT_ROWS};
use crate::observe::metrics::{Format, NameRow, Page, Snapshot};
use crate::shared::Shared;
use crate::stream::net::Net;

/// What an admin page answers with.
pub(super) enum Answer {
    /// One piece, of known length.
    Whole(Full<Bytes>),
    /// A scrape of several pieces.
    Pieces(Box<Pieces>),
    /// What comes, for as long as any does.
    Events(mpsc::Receiver<Bytes>),
}

/// A scrape that is written as it is read.
pub(super) struct Pieces {
    page: Peekable<Page<Snapshot>>,
    /// Whether others have had their turn since the last piece.
    has_yielded: bool,
    _scraping: Scraping,
}

/// A scrape of this moment. It is under way for as long as its numbers are kept.
pub(super) async fn scrape<N: Net>(
    shared: &Shared<N>,
    format: Format,
    scraping: Scraping,
) -> Answer {
    let mut names = Vec::new();
    each_slice(shared, |rows| names.extend(rows)).await;
    // As many as the rows tell of: a moment later there may be others.
    let pending = names.iter().map(|row: &NameRow| row.pending).sum();
    let snapshot = Snapshot { names, pending, ..shared.mesh.snapshot_without_names() };
    let mut page = shared.metrics.page(snapshot, format).peekable();
    // A piece that is not full is the last.
    match page.next_if(|piece| piece.len() < SCRAPE_CHUNK_BYTES) {
        Some(whole) => Answer::whole(whole),
        None => Answer::Pieces(Box::new(Pieces { page, has_yielded: false, _scraping: scraping })),
    }
}

/// Hands over all known names in order, some at a time. A name's numbers are those
/// of one moment; those of two names may not be.
pub(super) async fn each_slice<N: Net>(shared: &Shared<N>, mut take: impl FnMut(Vec<NameRow>)) {
    let mut last: Option<String> = None;
    loop {
        let rows = shared.mesh.rows_after(last.as_deref(), SNAPSHOT_ROWS);
        let is_last = rows.len() < SNAPSHOT_ROWS;
        last = rows.last().map(|row| row.name.clone());
        take(rows);
        if is_last {
            return;
        }
        yield_now().await;
    }
}

impl Answer {
    /// This and no more.
    pub(super) fn whole(body: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(body.into()))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Pieces(pieces) => pieces.poll_next(cx).map(|piece| piece.map(Ok)),
            Self::Events(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(Frame::data).map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(_) | Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if !std::mem::replace(&mut self.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_yielded = false;
        Poll::Ready(self.page.next().map(|piece| Frame::data(piece.into())))
    }
}
