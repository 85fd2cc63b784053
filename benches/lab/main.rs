//! The smallest relays that can be written, each in another way: what a machine gives to one who
//! only passes bytes on. `bench-tunnel --lab` measures two of each in a row, beside the tunnel.
//!
//! They are for measuring alone: none limits what it holds, counts, times out or logs.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what is measured are real sockets"
)]

mod cores;
mod epoll;
mod sockmap;
mod tasks;
mod uring;

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Listens, and passes every connection on to another address.
#[derive(Debug, Parser)]
struct Arguments {
    /// The way in which it does so.
    kind: Kind,
    /// Where it listens.
    listen: SocketAddr,
    /// Whom it dials.
    to: SocketAddr,
    /// Keeps each thread on a core of its own, and gives it the connections that arrive there.
    #[arg(long)]
    pin: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// One thread for each core, edge-triggered epoll.
    Epoll,
    /// Tokio, tasks that move between threads.
    Tokio,
    /// Tokio, one runtime for each core, whose tasks stay there.
    TokioPerCore,
    /// One ring for each core.
    IoUring,
    /// The kernel moves the bytes, at the word of a BPF program. Keep-alive alone: the end of a
    /// connection may overtake its last bytes.
    Sockmap,
}

fn main() {
    let Arguments { kind, listen, to, pin } = Arguments::parse();
    match kind {
        Kind::Epoll => cores::each(listen, pin, |listener| epoll::relay(listener, to)),
        Kind::Tokio => tasks::relay_on_all_threads(listen, to),
        Kind::TokioPerCore => cores::each(listen, pin, |listener| tasks::relay(listener, to)),
        Kind::IoUring => cores::each(listen, pin, |listener| uring::relay(&listener, to)),
        Kind::Sockmap => sockmap::relay(cores::listener(listen, None), to),
    }
}
