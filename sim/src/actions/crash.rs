//! Hosts that go, and hosts that come.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Crash, Restart};

impl Action for Crash {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.crash(&self.host, self.how)?;
        Ok(Effect::Had)
    }
}

impl Action for Restart {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.restart(&self.0);
        Ok(Effect::Had)
    }
}
