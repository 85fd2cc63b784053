//! Many at a time, against the real binary: in a process of their own, because they take
//! most of the files that one may open. `cargo test --profile quick` scrapes ten times as often.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod resets;
mod silence;

use std::net::SocketAddr;

use ops_proxy_tests::process::{Launch, Peer};

const NAME: &str = "app.example";

fn launch() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_ops-proxy-under-test"))
}

/// A peer that listens on a port of the system's choice.
async fn listening(args: &str) -> Peer {
    launch().args("run --listen 127.0.0.1:0").args(args).peer().await
}

/// A peer that registers with the peer at `to`.
async fn connecting(to: SocketAddr, args: &str) -> Peer {
    launch().args(&format!("run --connect {to}")).args(args).peer().await
}
