//! How requests went, as their clients saw it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::scenario::steps::Request;

/// How a request went, as its client saw it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The order's number.
    pub number: usize,
    /// The host that made it.
    pub client: String,
    /// What was asked for.
    pub request: Request,
    /// When it began.
    pub began: Duration,
    /// When its first answer byte came.
    pub answered: Option<Duration>,
    /// When it was over.
    pub ended: Option<Duration>,
    /// Payload bytes sent, without heads.
    pub sent: u64,
    /// Bytes of HTTP heads sent, that of CONNECT not counted.
    pub heads_sent: u64,
    /// Payload bytes received, without heads.
    pub received: u64,
    /// Answers so far of backends that were told of the client.
    pub told: u64,
    /// The answers to its exchanges so far.
    pub answers: Vec<Answered>,
    /// How it ended.
    pub end: Ending,
}

/// A final answer to one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// It came from a backend, not from a peer that could not forward.
    pub by_backend: bool,
}

/// How a request ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    Open,
    /// An HTTP answer, whole.
    Status(u16),
    /// Every byte came back, or every answer that could come.
    Whole,
    /// A clean end, and not everything had come.
    Cut,
    /// A clean end before anything had come.
    Closed,
    /// The connection failed.
    Failed(String),
    /// A TLS alert.
    Alert(u8),
    /// The client had enough, as it was told.
    Left,
    /// The client's patience was over.
    GaveUp,
    /// The client's host crashed.
    Gone,
    /// Bytes came that nobody sent.
    Corrupt(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Whole => f.write_str("whole"),
            Self::Cut => f.write_str("cut"),
            Self::Closed => f.write_str("closed"),
            Self::Failed(error) => f.write_str(error),
            Self::Alert(code) => write!(f, "alert {code}"),
            Self::Left => f.write_str("left"),
            Self::GaveUp => f.write_str("gave up"),
            Self::Gone => f.write_str("gone"),
            Self::Corrupt(what) => write!(f, "corrupt: {what}"),
        }
    }
}

impl Outcome {
    /// Whether the client got all that it asked for.
    pub fn is_whole(&self) -> bool {
        matches!(self.end, Ending::Whole | Ending::Status(200..=299))
            && self.answers.iter().all(|answer| answer.by_backend)
    }

    /// How it ended, as a scenario expects it: of exchanges, the answers in their order,
    /// and why no more came.
    pub fn ended_as(&self) -> String {
        if self.request.exchanges.is_empty() {
            return self.end.to_string();
        }
        let statuses = self.answers.iter().map(|answer| answer.status.to_string());
        let statuses = statuses.collect::<Vec<_>>().join(" ");
        match &self.end {
            Ending::Whole => statuses,
            end if statuses.is_empty() => end.to_string(),
            end => format!("{statuses}, then {end}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, client, request, sent, received, .. } = self;
        let end = self.ended_as();
        write!(f, "#{number} {client} {request}: {end}, {sent} B sent, {received} B received")
    }
}

/// All requests of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    all: Rc<RefCell<Vec<Outcome>>>,
    /// The ids that backends were told so far.
    ids: Rc<RefCell<BTreeSet<String>>>,
}

impl Outcomes {
    /// The requests so far, in the order of their beginning.
    pub fn all(&self) -> Vec<Outcome> {
        self.all.borrow().clone()
    }

    /// Reads the requests in place.
    pub fn with<R>(&self, read: impl FnOnce(&[Outcome]) -> R) -> R {
        read(&self.all.borrow())
    }

    /// A request begins.
    pub(super) fn begin(&self, outcome: Outcome) {
        self.all.borrow_mut().push(outcome);
    }

    /// Something happened to a request.
    pub(super) fn change(&self, number: usize, change: impl FnOnce(&mut Outcome)) {
        if let Some(outcome) = self.all.borrow_mut().iter_mut().find(|one| one.number == number) {
            change(outcome);
        }
    }

    /// A backend was told this id; whether none was before.
    pub(super) fn is_new(&self, id: &str) -> bool {
        self.ids.borrow_mut().insert(id.to_owned())
    }
}
