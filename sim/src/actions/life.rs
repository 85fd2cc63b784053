//! Peers that are told to go, or to stand still.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Drain, Freeze, Stop, Thaw};

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

impl Action for Freeze {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.freeze(&self.0)?;
        let host = self.0.clone();
        Ok(Effect::Watch(Box::new(move |mesh| mesh.is_held_back(&host))))
    }
}

impl Action for Thaw {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.thaw(&self.0)?;
        Ok(Effect::Had)
    }
}
