//! A request on its way.

use super::outcome::{Answered, Ending, Outcomes};
use crate::ground::Ground;

/// One request on its way; one that is dropped before its end was its client's
/// crash.
pub(super) struct Progress<N: Ground> {
    number: usize,
    outcomes: Outcomes,
    net: N,
    over: bool,
}

impl<N: Ground> Progress<N> {
    /// A request that has just begun.
    pub(super) fn begin(number: usize, outcomes: Outcomes, net: N) -> Self {
        Self { number, outcomes, net, over: false }
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
        let now = self.net.elapsed();
        self.outcomes.change(self.number, |outcome| {
            outcome.answered = outcome.answered.or(Some(now));
        });
    }

    /// Payload has come.
    pub(super) fn received(&self, bytes: u64) {
        self.outcomes.change(self.number, |outcome| outcome.received += bytes);
    }

    /// A backend that has answered was told of the client.
    pub(super) fn was_told(&self) {
        self.outcomes.change(self.number, |outcome| outcome.told += 1);
    }

    /// A backend was told this id; whether none was before.
    pub(super) fn is_new(&self, id: &str) -> bool {
        self.outcomes.is_new(id)
    }

    /// One of its exchanges has its answer.
    pub(super) fn got(&self, answer: Answered) {
        self.outcomes.change(self.number, |outcome| outcome.answers.push(answer));
    }

    /// It is over.
    pub(super) fn end(&mut self, end: Ending) {
        self.over = true;
        let now = self.net.elapsed();
        self.outcomes.change(self.number, |outcome| {
            outcome.end = end;
            outcome.ended = (outcome.end != Ending::Open).then_some(now);
            self.net.over(outcome.to_string());
        });
    }
}

impl<N: Ground> Drop for Progress<N> {
    fn drop(&mut self) {
        if !self.over {
            self.end(Ending::Gone);
        }
    }
}
