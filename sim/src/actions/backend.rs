//! Backends that change.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::Backend;

impl Action for Backend {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.change_backend(&self.host, |spec| {
            spec.kind = self.kind;
            spec.delay = self.delay;
            spec.rate = self.rate;
            spec.after = self.after;
        });
        let host = self.host.clone();
        let before = mesh.dials(&host);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.dials(&host) > before)))
    }
}
