//! The backends of a scenario.

use serde::{Deserialize, Serialize};

use super::units::{Size, Time};

/// A service that a connecting peer dials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    /// How it behaves.
    pub kind: BackendKind,
    /// Its port.
    #[serde(default = "eighty")]
    pub port: u16,
    /// It waits this long before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// It sends so many bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Size>,
    /// A `resetting` one resets after so many bytes sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Size>,
    /// What a `scripted` one says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
}

fn eighty() -> u16 {
    80
}

/// How a backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// Answers HTTP requests with the download that they ask for.
    Http,
    /// Sends back what it gets, and ends when the client has.
    Echo,
    /// Speaks first: a greeting, then it echoes.
    Greeting,
    /// Takes everything and never says anything.
    Mute,
    /// No connection is accepted.
    Refusing,
    /// Connections hang, neither accepted nor refused.
    Hanging,
    /// Answers, then resets the connection after some bytes.
    Resetting,
    /// Never stops sending.
    Endless,
    /// Sends back the datagrams that it gets, over UDP.
    Datagrams,
    /// Says what it was told to say, once it has heard anything, and listens on.
    Scripted,
}

impl BackendKind {
    /// Whether a request to it can succeed.
    pub fn can_succeed(self) -> bool {
        matches!(self, Self::Http | Self::Echo | Self::Greeting | Self::Datagrams)
    }
}
