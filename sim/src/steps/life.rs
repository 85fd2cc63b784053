//! Peers that are told to go.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::{Problem, Scenario};

/// A peer drains, as on the first SIGTERM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drain(pub String);

impl Action for Drain {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        scenario.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("drain {}", self.0)
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.drain(&self.0)?;
        Ok(Effect::Had)
    }

    fn is_fault(&self) -> bool {
        true
    }
}

/// A peer stops now, as on the second SIGTERM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop(pub String);

impl Action for Stop {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        scenario.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("stop {}", self.0)
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.stop(&self.0)?;
        Ok(Effect::Had)
    }

    fn is_fault(&self) -> bool {
        true
    }
}
