//! Tunnelled connections on which nothing happens.

use std::fmt;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::Peer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::peer;

const NAME: &str = "idle.example";

/// Connections that pay for what all of them share.
const FIRST: usize = 200;

/// Connections being opened at a time.
const AT_A_TIME: usize = 50;

/// Lets this program, and what it starts, open `wanted` files, or as many as it
/// may; returns how many those are.
pub(crate) fn raise_file_limit(wanted: u64) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raise = |to| setrlimit(Resource::Nofile, Rlimit { current: to, maximum: to });
    // More than the hard limit is for the privileged.
    if limit.maximum.is_none_or(|most| most >= wanted) || raise(Some(wanted)).is_err() {
        raise(limit.maximum).unwrap();
    }
    let most = getrlimit(Resource::Nofile).current;
    most.map_or(usize::MAX, |files| usize::try_from(files).unwrap())
}

/// What an idle connection costs each of the two peers that it goes through.
pub(crate) struct Idle {
    connections: usize,
    /// Resident bytes for each connection, of the listening and the connecting peer.
    each: [usize; 2],
}

impl Idle {
    /// Opens so many through two peers.
    pub(crate) async fn measure(connections: usize) -> Self {
        let backend = Backend::echo().await;
        let public = peer("--listen 127.0.0.1:0").await;
        let service = format!("--service {NAME}={0} --service {NAME}/connect={0}", backend.addr());
        let behind = peer(&format!("--connect {} {service}", public.listen())).await;
        public.serves(&[NAME]).await;
        let mut streams = open(&public, FIRST).await;
        let before = [public.resident_bytes(), behind.resident_bytes()];
        streams.extend(open(&public, connections).await);
        let after = [public.resident_bytes(), behind.resident_bytes()];
        let each = [0, 1].map(|peer| after[peer].saturating_sub(before[peer]) / connections);
        Self { connections, each }
    }
}

/// Opens so many streams, each of which has carried bytes both ways.
async fn open(public: &Peer, count: usize) -> Vec<TcpStream> {
    let to = public.listen();
    let mut opening = JoinSet::new();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        if opening.len() == AT_A_TIME {
            open.extend(opening.join_next().await.map(Result::unwrap));
        }
        opening.spawn(client::stream_to(to, NAME));
    }
    while let Some(stream) = opening.join_next().await {
        open.push(stream.unwrap());
    }
    open
}

/// Markdown, one figure a row.
impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [listening, connecting] = self.each;
        writeln!(f, "| {} idle tunnelled connections | |\n|---|---:|", self.connections)?;
        writeln!(f, "| resident for each, listening peer | {listening} bytes |")?;
        writeln!(f, "| resident for each, connecting peer | {connecting} bytes |")
    }
}
