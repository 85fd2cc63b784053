//! Checks of the backends, off unless a service asks for them.
//!
//! A service counts as up until its first check, which decides alone; after that, so many
//! failures in a row make it fall, and so many successes rise. All its backends must pass.
//! While it is down it is withdrawn: from listening peers by UNREGISTER, and from this
//! peer's own routes. A check is no request: it is in no metric of requests.
//!
//! [`board`] is the only file that others may import: it knows no tasks.

pub mod board;
mod checks;
mod judge;
mod probe;

pub use checks::keep_checking;
pub use probe::{Failed, probe};
