//! What a conversation says of bytes that have come, and of the silence after them.

use tokio::time::Instant;

use super::flaw::Flaw;

/// What may be done with the first bytes of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// So many may be passed on, whether they have come yet or not.
    Pass(u64),
    /// So many, which have come, are not for the other end, and are to be left out: they are
    /// said to be so only once.
    Skip(usize),
    /// So many are a head, which goes on as
    /// [`Conversation::reword`](super::Conversation::reword) writes it, or
    /// [`Conversation::reword_answer`](super::Conversation::reword_answer).
    Reword(usize),
    /// Nothing can be said without more of them.
    More,
    /// They wait for an answer.
    Wait,
    /// They do not belong to this stretch.
    Stop(Stop),
}

/// Why bytes do not belong to a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// They begin a request that is to be routed on its own.
    Other,
    /// They are to be refused.
    Flawed(Flaw),
    /// They are a head that was not whole in time.
    Late,
    /// No request has asked for them.
    Unasked,
}

/// What a stretch waits for while nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// The next request; since when.
    Idle(Instant),
    /// The rest of a request's head; since when.
    Head(Instant),
    /// Bodies and answers, for which no time is set.
    Busy,
}
