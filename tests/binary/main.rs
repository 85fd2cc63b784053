//! The real command end to end: real processes, real sockets, loopback only.
//!
//! Every module is named for what it looks at. A test sees what a user, an
//! operator or the other end of a wire sees: bytes, metrics, logs, exit codes.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the far ends of the tests are real sockets and processes"
)]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod absence;
mod access_log;
mod admin;
mod attacks;
mod authorities;
mod check;
mod connect;
mod data;
mod demo;
mod dial;
mod dial_back;
mod dns;
mod edge;
mod exchanges;
mod front;
mod fronts;
mod h2;
mod health;
mod http;
mod hubs;
mod idle_data;
mod instances;
mod invariants;
mod kubernetes;
mod limits;
mod links;
mod logging;
mod mesh;
mod metrics_contract;
mod operator;
mod page;
mod peer_tls;
mod pki;
mod providers;
mod proxy_protocol;
mod reach;
mod readme;
mod refusals;
mod reload;
mod resources;
mod restart;
mod served;
mod services;
mod shipped;
mod shutdown;
mod smuggling;
mod spans;
mod startup;
mod streams;
mod tcp;
mod tls;
mod tokens;
mod transit;
mod udp;
mod upgrade;
mod via;
mod workers;

use std::net::SocketAddr;

use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::{Launch, Peer};
use tempfile::TempDir;

/// The name that most tests serve.
const NAME: &str = "app.example";

/// Where the command under test is.
const BINARY: &str = env!("CARGO_BIN_EXE_ops-proxy-under-test");

/// The command under test, without arguments.
fn launch() -> Launch {
    Launch::new(BINARY)
}

/// A peer that listens on a port of the system's choice.
async fn listening(args: &str) -> Peer {
    launch().args("run --listen 127.0.0.1:0").args(args).peer().await
}

/// A peer that registers with the peer at `to`.
async fn connecting(to: SocketAddr, args: &str) -> Peer {
    launch().args(&format!("run --connect {to}")).args(args).peer().await
}

/// A service that is reached by CONNECT, too.
fn every_way(name: &str, backend: SocketAddr) -> String {
    format!("--service {name}={backend} --service {name}/connect={backend}")
}

/// A service that is reached in every way, and whose requests go through as they are; it
/// stands in a file.
fn unchanged(name: &str, backend: SocketAddr) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("services.toml");
    let table = format!(
        "[[service]]\nname = '{name}'\nbackend = '{backend}'\n\
         ways = ['http', 'https', 'tcp', 'connect']\nforwarded = false\n"
    );
    std::fs::write(&file, table).unwrap();
    (directory, format!("--config {}", file.display()))
}

/// How a request gets from the listening peer to the backend.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// The listening peer serves the name itself.
    Local,
    /// Another peer has registered it, and keeps idle DATA connections.
    Tunnelled,
    /// Another peer has registered it, and dials a DATA connection for each request.
    Dialled,
}

impl Path {
    const ALL: [Self; 3] = [Self::Local, Self::Tunnelled, Self::Dialled];
}

fn idle_data(metrics: &Metrics) -> f64 {
    metrics.value("ops_proxy_idle_data_connections", &[])
}

/// A listening peer through which one name is reached.
struct Mesh {
    /// Where the public arrives.
    public: Peer,
    /// The peer beside the backend, when that is another one.
    behind: Option<Peer>,
    _directory: TempDir,
}

impl Mesh {
    /// Serves [`NAME`] with the backend at `backend`; `args` are the listening
    /// peer's.
    async fn serving(path: Path, backend: SocketAddr, args: &str) -> Self {
        let (directory, service) = unchanged(NAME, backend);
        let (public, behind) = match path {
            Path::Local => (listening(&format!("{args} {service}")).await, None),
            Path::Tunnelled => {
                let public = listening(args).await;
                let behind = connecting(public.listen(), &service).await;
                (public, Some(behind))
            }
            Path::Dialled => {
                let public = listening(args).await;
                let args = format!("{service} --idle-data 0");
                let behind = connecting(public.listen(), &args).await;
                (public, Some(behind))
            }
        };
        public.serves(&[NAME]).await;
        if matches!(path, Path::Tunnelled) {
            public.until("idle DATA connections", |metrics| idle_data(metrics) == 2.0).await;
        }
        Self { public, behind, _directory: directory }
    }

    /// Where the public arrives.
    fn addr(&self) -> SocketAddr {
        self.public.listen()
    }
}
