//! What two processes tell each other, of which one was started by the other to take over.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::handover::Secret;

/// Set for a process that is to take over from the one that started it. What it is told comes
/// through its standard input, which is a socket.
pub(super) const TAKES_OVER: &str = "OPS_PROXY_TAKES_OVER";

/// The first descriptor that is handed over. Source: sd_listen_fds(3).
pub(super) const FIRST_DESCRIPTOR: i32 = 3;

/// What the new process is told, in one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Handover {
    /// What the old one is called.
    pub(super) peer: String,
    /// Where it takes back DATA connections.
    pub(super) back: SocketAddr,
    /// What it knows the new one by.
    pub(super) secret: Secret,
    /// The addresses that the descriptors stand for, in their order.
    pub(super) sockets: Vec<SocketAddr>,
    /// The names that it knows, as the state file has them.
    pub(super) names: String,
}

/// What the new process answers, each a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It accepts connections.
    Listening,
    /// Its links are up, and the names are back.
    Ready,
}

impl Said {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Ready => "ready",
        }
    }
}
