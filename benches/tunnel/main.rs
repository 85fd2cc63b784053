//! The whole tunnel, as processes, under load, beside two chained HAProxies: in TCP mode,
//! and in HTTP mode, which reads every request as the tunnel does.
//!
//! Every round measures every rig once, and every other one in the opposite order, so that a
//! machine that changes its pace changes it for all; what counts are the medians of the ratios
//! within a round. Each round starts all processes anew, for where the kernel happens to put their
//! threads makes a difference of a fifth, as long as they live. Needs `nginx`, `haproxy`, `wrk` and
//! `curl`, and a release build of `ops-proxy`: `just bench-tunnel` sees to that.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what is measured are real sockets and processes"
)]

mod load;
mod plot;
mod rig;
mod table;

use std::path::{Path, PathBuf};

use clap::Parser;
use ops_proxy_tests::process::released;

use load::Load;
use rig::{Nginx, Rig};
use table::Table;

/// Measures the tunnel beside two chained HAProxies and prints medians of ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often every rig is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each load of requests lasts.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Size of the file of the bulk load.
    #[arg(long, default_value_t = 1024)]
    bulk_mib: u64,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Another build of ops-proxy, measured in the same rounds.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Measures chains instead: the tunnel with one and two more peers that pass the name on,
    /// and with a peer that asks its hub for it.
    #[arg(long)]
    hops: bool,
    /// Measures the smallest relays that can be written as well, two of each in a row.
    #[arg(long)]
    lab: bool,
    /// Only the loads whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Writes the ratios as a plot.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// The relays of the laboratory: what the table calls them, and how they are asked for.
const RELAYS: [(&str, &str); 8] = [
    ("epoll", "epoll"),
    ("epoll, pinned", "epoll --pin"),
    ("tokio", "tokio"),
    ("tokio per core", "tokio-per-core"),
    ("tokio per core, pinned", "tokio-per-core --pin"),
    ("io_uring", "io-uring"),
    ("io_uring, pinned", "io-uring --pin"),
    ("sockmap", "sockmap"),
];

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let wanted = |load: &Load| {
        arguments.only.as_ref().is_none_or(|only| load.to_string().contains(only.as_str()))
    };
    let loads: Vec<Load> = Load::ALL.into_iter().filter(wanted).collect();
    let ours = released();
    let mut table = Table::default();
    for round in 1..=arguments.rounds {
        let nginx = Nginx::start(arguments.bulk_mib);
        let rigs = rigs(&arguments, &loads, &ours, &nginx).await;
        // The first download reads the file into the page cache.
        Load::Bulk.put_on(nginx.addr, 1, 1);
        for load in &loads {
            // There and back: the same binary, twice, differed by 9 % in one order.
            let mut turn: Vec<&Rig> = rigs.iter().collect();
            if round % 2 == 0 {
                turn.reverse();
            }
            for rig in turn {
                let figures = load.put_on(rig.addr, arguments.connections, arguments.seconds);
                for (what, value) in figures {
                    eprintln!("round {round}: {what}, {}: {value}", rig.name);
                    table.add(what, rig.name, value);
                }
            }
        }
    }
    print!("{table}");
    if let Some(path) = arguments.svg {
        std::fs::write(path, plot::ratios(&table)).unwrap();
    }
}

/// What is measured, just started.
async fn rigs(arguments: &Arguments, loads: &[Load], ours: &Path, nginx: &Nginx) -> Vec<Rig> {
    let mut rigs = vec![Rig::direct(nginx), Rig::haproxy(nginx), Rig::haproxy_http(nginx)];
    rigs.push(Rig::plaintext("plaintext", ours, nginx).await);
    if !arguments.hops {
        rigs.push(Rig::port("TCP port", ours, nginx).await);
    }
    if arguments.lab {
        // The kernel moves bytes past the end of a connection: the last one is for keep-alive.
        let all = loads.iter().all(|load| matches!(load, Load::KeepAlive));
        let beside = std::env::current_exe().unwrap().with_file_name("bench-relay");
        for (name, relay) in &RELAYS[..RELAYS.len() - usize::from(!all)] {
            rigs.push(Rig::relays(name, relay, &beside, nginx));
        }
    }
    if arguments.hops {
        rigs.remove(0);
        rigs.push(Rig::chain("one hop more", ours, nginx, 1).await);
        rigs.push(Rig::chain("two hops more", ours, nginx, 2).await);
    }
    if let Some(before) = &arguments.before {
        rigs.push(Rig::plaintext("plaintext before", before, nginx).await);
    }
    rigs.push(Rig::mutual_tls("mutual TLS", ours, nginx).await);
    if arguments.hops {
        rigs.push(Rig::reached("asked of a hub, TLS", ours, nginx).await);
    }
    if let Some(before) = &arguments.before {
        rigs.push(Rig::mutual_tls("mutual TLS before", before, nginx).await);
    }
    rigs
}
