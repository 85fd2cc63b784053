//! Peers that are told to go.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Drain, Stop};

impl Action for Drain {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.drain(&self.0)?;
        Ok(Effect::Had)
    }
}

impl Action for Stop {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.stop(&self.0)?;
        Ok(Effect::Had)
    }
}
