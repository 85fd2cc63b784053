//! The ways of clients.

use serde::{Deserialize, Serialize};

/// How a client says what it wants.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// An HTTP request with a Host.
    #[default]
    Http,
    /// HTTP/2 in clear text: its exchanges are streams of one connection.
    Http2,
    /// A TLS handshake with SNI, then a stream.
    Tls,
    /// An HTTP CONNECT, then a stream.
    Connect,
    /// A port of its own, a stream at once.
    Tcp,
    /// A port of its own, in datagrams of at most `cuts` bytes, each when the one before it has
    /// come back, unless they are `pipelined`.
    Udp,
}

impl Via {
    /// The label of `protocol` in the metrics.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Http | Self::Http2 | Self::Connect => "http",
            Self::Tls => "https",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
