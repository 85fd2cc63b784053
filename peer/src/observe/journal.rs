//! What an operator can ask about single requests: those that run, the last that ended, and
//! the last that went wrong, each under the id by which both peers know it.
//!
//! A request costs one record when it is routed and two short locks, at its beginning and its
//! end; what flows only adds to counters in the record. HTTP requests within a stretch have no
//! record of their own: the stretch counts them. Both lists of the past are as long as they
//! may become from the start.

mod book;
mod record;
mod span_sink;
mod trouble;

pub use book::{Journal, Running};
pub use record::{Failure, Kind, Known, Record, ServedBy};
pub use span_sink::SpanSink;
pub use trouble::{Refusal, Trouble};
