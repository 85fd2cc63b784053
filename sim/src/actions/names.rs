//! What names resolve to.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::Dns;

impl Action for Dns {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.set_name(&self.name, self.host.as_deref());
        let name = self.name.clone();
        let before = mesh.lookups(&name);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.lookups(&name) > before)))
    }
}
