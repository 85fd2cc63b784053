//! What came of a run.

use std::time::Duration;

use super::reached::Reached;
use super::sample::Sample;
use crate::client::{Heard, Outcome};
use crate::mesh::Kept;
use crate::scenario::steps::Request;
use crate::trace::Event;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Played {
    /// The seed it ran with.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// What must not have happened; a good run has none.
    pub failure: Option<String>,
    /// Simulated time in all.
    pub lasted: Duration,
    /// Simulated time until all was quiet after the last step; in all, if it never was.
    pub quiet_after: Duration,
    /// Metrics at the checkpoints, and under `end` when all was quiet.
    pub kept: Vec<Kept>,
    /// What each client saw, up to then.
    pub outcomes: Vec<Outcome>,
    /// What was heard on raw connections, up to then.
    pub raws: Vec<(String, Heard)>,
    /// What happened, if recorded.
    pub events: Vec<Event>,
    /// Some metrics over time, if recorded.
    pub samples: Vec<Sample>,
    /// The requests that were made once all was healed, and had to be served.
    pub probes: Vec<Request>,
    /// How often each kind of state was reached.
    pub reached: Reached,
}
