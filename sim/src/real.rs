//! The same scenario in the other world: the real binary, processes and sockets.
//!
//! Each host is a network namespace. Peers are processes within; clients and backends are
//! those of the simulation, on real sockets. What a scenario expects must come true here as
//! well, and at the end the peers must have counted what those of the simulation have.
//!
//! What is explored is played here, too, without end: it expects nothing, so that peers are held
//! against what must always hold.
//!
//! Time is real: nothing here is the same twice, and all that is asserted has some leeway.

mod chaos;
mod config;
mod counters;
mod dns;
mod hosts;
mod lab;
mod laws;
mod names;
mod namespaces;
mod net;
mod plan;
mod player;
mod process;
mod scrape;
mod steps;
mod tally;
mod verdict;

pub use chaos::{Came, Chaos, Lived};
pub use namespaces::{NoNamespaces, can_be_made};
pub use plan::{Plan, Told};
pub use tally::Tally;
pub use verdict::Verdict;
