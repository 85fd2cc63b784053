//! An answer that holds until any host has done something.

/// The last answer to one question, and when it was given.
#[derive(Debug, Default)]
pub(super) struct Memo(Option<(u64, bool)>);

impl Memo {
    /// The answer when the software of all hosts has been polled so often: only asked for if
    /// that is not the last time.
    pub(super) fn at(&mut self, polls: u64, answer: impl FnOnce() -> bool) -> bool {
        match self.0 {
            Some((then, answer)) if then == polls => answer,
            _ => {
                let answer = answer();
                self.0 = Some((polls, answer));
                answer
            }
        }
    }
}
