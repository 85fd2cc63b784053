//! A configuration that changes while its peer runs.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::Configure;

impl Action for Configure {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let before = mesh.configurations(&self.peer);
        mesh.configure(&self.peer, |spec| self.of(spec));
        let peer = self.peer.clone();
        Ok(Effect::Watch(Box::new(move |mesh| mesh.configurations(&peer) > before)))
    }
}
