//! Hosts that go, and hosts that come.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::{Problem, Scenario};

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

impl Action for Crash {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        scenario.check_host("host", &self.host)
    }

    fn title(&self) -> String {
        format!("crash {} ({:?})", self.host, self.how)
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.crash(&self.host, self.how)?;
        Ok(Effect::Had)
    }

    fn is_fault(&self) -> bool {
        true
    }
}

/// A host's software starts, after a crash or for the first time. One that still
/// runs is killed first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restart(pub String);

impl Action for Restart {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        scenario.check_host("host", &self.0)
    }

    fn title(&self) -> String {
        format!("restart {}", self.0)
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.restart(&self.0);
        Ok(Effect::Had)
    }

    fn is_fault(&self) -> bool {
        true
    }
}
