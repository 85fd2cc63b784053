//! Wall clocks that jump.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::Clock;

impl Action for Clock {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.set_clock(&self.host, self.ahead);
        let (host, before) = (self.host.clone(), mesh.clock_reads(&self.host));
        Ok(Effect::Watch(Box::new(move |mesh| mesh.clock_reads(&host) > before)))
    }
}
