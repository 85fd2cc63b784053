//! What happened, in order: the hash of it is how two runs are compared, and the
//! events are what a reader of a failing run wants to see.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::connection::End;

/// Events kept when recording; a run that goes on after this only hashes.
const EVENTS_KEPT: usize = 200_000;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Simulated time since the start of the run.
    pub at: Duration,
    /// The host on which it happened, empty for the harness itself.
    pub host: String,
    /// What it was.
    pub what: What,
}

/// The kinds of events. Connections are numbered in the order of their accepts.
#[derive(Debug, Clone, Hash)]
#[allow(missing_docs, reason = "the variants say it; conn is a connection, end one of its ends")]
pub enum What {
    /// A connection from `from` was accepted by `to`.
    Accepted { conn: u64, from: String, to: String },
    /// A dial to `to` ended with this error.
    DialFailed { to: String, error: String },
    /// So many bytes were handed to the network.
    Wrote { conn: u64, end: End, bytes: usize, digest: u64 },
    /// So many bytes were taken from the network.
    Read { conn: u64, end: End, bytes: usize },
    /// The other side ended its direction cleanly.
    SawEnd { conn: u64, end: End },
    /// Reading or writing failed.
    Failed { conn: u64, end: End, error: String },
    /// This end ended its direction.
    Finished { conn: u64, end: End },
    /// This end let go of the connection.
    Closed { conn: u64, end: End },
    /// This end let go of the connection with a reset.
    Aborted { conn: u64, end: End },
    /// A datagram was handed to the network.
    Sent { to: String, bytes: usize, digest: u64 },
    /// A datagram was taken from the network.
    Received { from: String, bytes: usize, digest: u64 },
    /// A protocol line was written.
    Line { conn: u64, end: End, line: String },
    /// A step of the scenario began.
    Step { number: usize, title: String },
    /// A client's request is over.
    Outcome { text: String },
    /// A log line of the peer.
    Log { text: String },
}

/// The events of a run and their running hash.
#[derive(Debug, Default)]
pub struct Trace {
    hash: Fnv,
    record: bool,
    events: Vec<Event>,
}

impl Trace {
    /// A trace that also keeps its events if `record` is set.
    pub fn new(record: bool) -> Self {
        Self { record, ..Self::default() }
    }

    /// Adds an event. Log lines are kept, but no part of the hash: what is
    /// logged must not decide whether two runs are the same.
    pub fn push(&mut self, at: Duration, host: &str, what: What) {
        if !matches!(what, What::Log { .. }) {
            at.hash(&mut self.hash);
            host.hash(&mut self.hash);
            what.hash(&mut self.hash);
        }
        if self.record && self.events.len() < EVENTS_KEPT {
            self.events.push(Event { at, host: host.to_owned(), what });
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// What was recorded.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at.as_secs_f64();
        write!(f, "{at:>9.3}s {:<10} ", self.host)?;
        match &self.what {
            What::Accepted { conn, from, to } => write!(f, "[{conn}] {from} -> {to}"),
            What::DialFailed { to, error } => write!(f, "dial {to}: {error}"),
            What::Wrote { conn, bytes, .. } => write!(f, "[{conn}] wrote {bytes} B"),
            What::Read { conn, bytes, .. } => write!(f, "[{conn}] read {bytes} B"),
            What::SawEnd { conn, .. } => write!(f, "[{conn}] saw the end"),
            What::Failed { conn, error, .. } => write!(f, "[{conn}] failed: {error}"),
            What::Finished { conn, .. } => write!(f, "[{conn}] finished writing"),
            What::Closed { conn, .. } => write!(f, "[{conn}] closed"),
            What::Aborted { conn, .. } => write!(f, "[{conn}] reset"),
            What::Sent { to, bytes, .. } => write!(f, "{bytes} B to {to}"),
            What::Received { from, bytes, .. } => write!(f, "{bytes} B from {from}"),
            What::Line { conn, line, .. } => write!(f, "[{conn}] > {line}"),
            What::Step { number, title } => write!(f, "== step {number}: {title}"),
            What::Outcome { text } => write!(f, "=> {text}"),
            What::Log { text } => write!(f, "log {text}"),
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every release, which
/// `DefaultHasher` does not promise.
#[derive(Debug, Clone)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The hash of some bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(bytes);
    hash.finish()
}
