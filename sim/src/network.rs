//! The peer's network seam on turmoil, and what turmoil lacks: resets, death by timeout,
//! names, hosts that go, and listening in.
//!
//! Nothing here may know what peers, clients and backends are for.

mod counters;
mod datagrams;
mod dial;
mod fabric;
mod host;
mod ledger;
mod listener;
mod net;
mod pipe;
mod schedule;
mod stream;
mod undertaker;
mod watched;
mod way;

pub use counters::{Bulk, Counters};
pub use datagrams::SimDatagrams;
pub use fabric::{Fabric, State};
pub use host::{Host, HostState};
pub use ledger::{Farewell, Ledger, WINDOW_BYTES, WINDOW_SEGMENTS};
pub use listener::SimListener;
pub use net::SimNet;
pub use stream::SimStream;
pub use undertaker::Undertaker;
pub use way::way;
