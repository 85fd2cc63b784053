//! Hosts that go, and hosts that come.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;

/// A host's software ends without notice.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// The host.
    pub host: String,
    /// What the others are told of it.
    #[serde(default)]
    pub how: How,
}

/// What a crash looks like to the others.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its connections are reset.
    #[default]
    Reset,
    /// Its connections end as if they had been closed: a killed process.
    End,
    /// Nothing is said: the power is gone.
    Silent,
}

impl Described for Crash {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_host("host", &self.host)
    }

    fn title(&self) -> String {
        format!("crash {} ({:?})", self.host, self.how)
    }
}

/// A host's software starts, after a crash or for the first time. One that still
/// runs is killed first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restart(pub String);

impl Described for Restart {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_host("host", &self.0)
    }

    fn title(&self) -> String {
        format!("restart {}", self.0)
    }
}
