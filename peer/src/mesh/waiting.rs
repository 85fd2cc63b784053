//! A request that waits for its DATA connection, and how the wait can end.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::names::ProxyId;
use crate::observe::metrics::NameStats;
use crate::stream::relay::Side;
use crate::wire::{FailReason, Line};
use crate::workers::Place;

/// Why a provider did not take a request. No byte has flowed yet, so another
/// provider may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The FORWARD could not be written.
    #[error("FORWARD could not be written")]
    NotWritten,
    /// The deadline came before the DATA connection.
    #[error("no DATA connection came in time")]
    Timeout,
    /// The provider cannot reach its backend.
    #[error("the provider failed: {0}")]
    Failed(FailReason),
    /// The link ended while the request waited.
    #[error("the link was lost")]
    LinkLost,
    /// The public client reset its connection while the request waited.
    #[error("the client reset its connection")]
    ClientReset,
}

/// What a waiting request gets: a DATA connection, and where it was accepted.
pub type Dialled<S> = Result<(Side<S>, Place), ForwardError>;

/// A FORWARD on its way to the writer of a link.
#[derive(Debug)]
pub struct Forward {
    /// The request's id.
    pub id: ProxyId,
    /// The line to be written.
    pub line: Line,
}

/// What the mesh keeps for a request that waits.
#[derive(Debug)]
pub struct Waiting<S> {
    /// The counters of that name.
    pub stats: Arc<NameStats>,
    /// When its FORWARD was handed over.
    pub since: Instant,
    /// Answers the request.
    pub reply: oneshot::Sender<Dialled<S>>,
}
