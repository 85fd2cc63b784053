//! What names resolve to, and how long that takes.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::Dns;

impl Action for Dns {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.set_name(&self.name, self.all());
        mesh.set_lookup_time(&self.name, self.takes.map(|takes| takes.0));
        let name = self.name.clone();
        let before = mesh.lookups(&name);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.lookups(&name) > before)))
    }
}
