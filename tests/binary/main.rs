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

mod admin;
mod connect;
mod data;
mod demo;
mod http;
mod invariants;
mod limits;
mod links;
mod mesh;
mod metrics_contract;
mod peer_tls;
mod proxy_protocol;
mod refusals;
mod shutdown;
mod startup;
mod streams;
mod tcp;
mod tls;
mod tokens;

use std::net::SocketAddr;

use ops_proxy_tests::process::{Launch, Peer};

/// The name that most tests serve.
const NAME: &str = "app.example";

/// The command under test, without arguments.
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

/// How a request gets from the listening peer to the backend.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// The listening peer serves the name itself.
    Local,
    /// Another peer has registered it.
    Tunnelled,
}

impl Path {
    const BOTH: [Self; 2] = [Self::Local, Self::Tunnelled];
}

/// A listening peer through which one name is reached.
struct Mesh {
    /// Where the public arrives.
    public: Peer,
    /// The peer beside the backend, when that is another one.
    behind: Option<Peer>,
}

impl Mesh {
    /// Serves [`NAME`] with the backend at `backend`; `args` are the listening
    /// peer's.
    async fn serving(path: Path, backend: SocketAddr, args: &str) -> Self {
        let service = format!("--service {NAME}={backend}");
        let (public, behind) = match path {
            Path::Local => (listening(&format!("{args} {service}")).await, None),
            Path::Tunnelled => {
                let public = listening(args).await;
                let behind = connecting(public.listen(), &service).await;
                (public, Some(behind))
            }
        };
        public.serves(&[NAME]).await;
        Self { public, behind }
    }

    /// Where the public arrives.
    fn addr(&self) -> SocketAddr {
        self.public.listen()
    }
}
