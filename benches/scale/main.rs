//! One listening peer at the scale aimed at: 100,000 names from 1,000 connecting
//! peers, and 10,000 idle tunnelled connections.
//!
//! The peers under measure are processes; the thousand links are this program's,
//! which speaks the wire protocol for all of them. Needs a release build of
//! `ops-proxy`: `just bench-scale` sees to that.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what is measured are real sockets and processes, in real time"
)]

mod fleet;
mod idle;
mod names;
mod scrape;

use std::time::Duration;

use clap::Parser;
use ops_proxy_tests::process::{Launch, Peer, released};

use idle::Idle;
use names::Names;

/// Measures a listening peer of very many names and connections.
#[derive(Debug, Parser)]
struct Arguments {
    /// Links, each of a connecting peer.
    #[arg(long, default_value_t = 1_000)]
    links: usize,
    /// Names that each of them registers, on one line.
    #[arg(long, default_value_t = 100)]
    names: usize,
    /// How often every name is refreshed, and how often `/metrics` is asked for.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Idle tunnelled connections, as far as files may be opened.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let files = idle::raise_file_limit(4 * arguments.connections as u64);
    let names = Names::measure(arguments.links, arguments.names, arguments.rounds).await;
    print!("{names}");
    print!("{}", Idle::measure(arguments.connections.min(files / 2 - 500)).await);
}

/// A peer of the release build, with these arguments.
async fn peer(arguments: &str) -> Peer {
    Launch::new(released().to_str().unwrap()).args(&format!("run {arguments}")).peer().await
}

/// The middle and the greatest of `times`.
fn median_and_most(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

/// Millions of bytes.
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Thousandths of a second.
fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
