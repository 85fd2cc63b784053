//! A request on its way.

use super::outcome::{Answered, Ending, Outcomes};
use crate::network::Fabric;
use crate::trace::What;

/// One request on its way; one that is dropped before its end was its client's
/// crash.
pub(super) struct Progress {
    number: usize,
    outcomes: Outcomes,
    fabric: Fabric,
    over: bool,
}

impl Progress {
    /// A request that has just begun.
    pub(super) fn begin(number: usize, outcomes: Outcomes, fabric: Fabric) -> Self {
        Self { number, outcomes, fabric, over: false }
    }

    /// The request's number over the whole run.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Payload was sent.
    pub(super) fn sent(&self, bytes: u64) {
        self.outcomes.change(self.number, |outcome| outcome.sent += bytes);
    }

    /// The head of an HTTP request was sent.
    pub(super) fn sent_head(&self, bytes: u64) {
        self.outcomes.change(self.number, |outcome| outcome.heads_sent += bytes);
    }

    /// An answer has begun to come.
    pub(super) fn answered(&self) {
        let now = turmoil::sim_elapsed();
        self.outcomes.change(self.number, |outcome| {
            outcome.answered = outcome.answered.or(now);
        });
    }

    /// Payload has come.
    pub(super) fn received(&self, bytes: u64) {
        self.outcomes.change(self.number, |outcome| outcome.received += bytes);
    }

    /// One of its exchanges has its answer.
    pub(super) fn got(&self, answer: Answered) {
        self.outcomes.change(self.number, |outcome| outcome.answers.push(answer));
    }

    /// It is over.
    pub(super) fn end(&mut self, end: Ending) {
        self.over = true;
        let mut state = self.fabric.state();
        let now = state.now;
        self.outcomes.change(self.number, |outcome| {
            outcome.end = end;
            outcome.ended = (outcome.end != Ending::Open).then_some(now);
            state.note(What::Outcome { text: outcome.to_string() });
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.over {
            self.end(Ending::Gone);
        }
    }
}
