//! The peer as a library, inside this process: what no stranger can make the
//! command do from outside, on the millisecond or by the thousand.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the far ends of the tests are real sockets"
)]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod admin_deadline;
mod deadline;
mod panics;
mod return_of_peers;
mod vanished;
