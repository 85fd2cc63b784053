//! What is put on a rig, and the figures that come of it.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;

use crate::table::Figure;

/// The name that the tunnel routes.
pub(crate) const NAME: &str = "web.bench";

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// One large file.
    Bulk,
    /// Small answers on connections that stay.
    KeepAlive,
    /// Small answers, each on a connection of its own.
    Close,
    /// As [`Close`](Self::Close), one after the other: what a lone client waits.
    Lone,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bulk => "bulk",
            Self::KeepAlive => "keep-alive",
            Self::Close => "close",
            Self::Lone => "lone",
        })
    }
}

impl Load {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Bulk, Self::KeepAlive, Self::Close, Self::Lone];

    /// Puts the load on who listens at `addr`.
    pub(crate) fn put_on(
        self,
        addr: SocketAddr,
        connections: usize,
        seconds: u64,
    ) -> Vec<(Figure, f64)> {
        match self {
            Self::Bulk => vec![(Figure::BULK, bulk(addr))],
            Self::KeepAlive => {
                let wrk = Wrk::run(addr, connections, seconds, false);
                vec![(Figure::KEEP_ALIVE, wrk.rate), (Figure::KEEP_ALIVE_P99, wrk.p99)]
            }
            Self::Close => {
                let wrk = Wrk::run(addr, connections, seconds, true);
                vec![(Figure::CLOSE, wrk.rate), (Figure::CLOSE_P99, wrk.p99)]
            }
            Self::Lone => {
                let wrk = Wrk::run(addr, 1, seconds, true);
                vec![(Figure::LONE, wrk.p50)]
            }
        }
    }
}

/// Bytes a second of one large download.
fn bulk(addr: SocketAddr) -> f64 {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output", "/dev/null", "--max-time", "120"]);
    curl.args(["--header", &format!("Host: {NAME}"), "--write-out", "%{speed_download}"]);
    let text = output(curl.arg(format!("http://{addr}/bulk")));
    text.trim().parse().unwrap_or_else(|_| panic!("curl printed no rate: {text}"))
}

/// What wrk measured.
struct Wrk {
    /// Requests a second.
    rate: f64,
    /// Milliseconds.
    p50: f64,
    /// Milliseconds.
    p99: f64,
}

impl Wrk {
    fn run(addr: SocketAddr, connections: usize, seconds: u64, close: bool) -> Self {
        let threads = connections.min(2);
        let mut wrk = Command::new("wrk");
        wrk.args(["--latency", "--timeout", "10s"]);
        wrk.args([format!("-t{threads}"), format!("-c{connections}"), format!("-d{seconds}s")]);
        wrk.args(["-H", &format!("Host: {NAME}")]);
        if close {
            wrk.args(["-H", "Connection: close"]);
        }
        let text = output(wrk.arg(format!("http://{addr}/")));
        assert!(!text.contains("Non-2xx"), "requests failed:\n{text}");
        // wrk takes a close that it asked for as a read error, at the very end.
        Self {
            rate: after(&text, "Requests/sec:").parse().unwrap(),
            p50: milliseconds(after(&text, " 50%")),
            p99: milliseconds(after(&text, " 99%")),
        }
    }
}

/// The word that follows `label`.
fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let word = text.split_once(label).and_then(|(_, rest)| rest.split_whitespace().next());
    word.unwrap_or_else(|| panic!("wrk printed no {label}:\n{text}"))
}

fn milliseconds(text: &str) -> f64 {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let read =
        |(unit, factor): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    units.into_iter().find_map(read).unwrap_or_else(|| panic!("{text} is no duration"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
