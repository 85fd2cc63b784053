//! What happens to the way between two hosts.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Heal, Hold, Latency, Partition, Release};

impl Action for Hold {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.0.clone();
        mesh.hold(&a, &b)?;
        Ok(Effect::Watch(Box::new(move |mesh| mesh.is_held(&a, &b) && mesh.in_flight(&a, &b) > 0)))
    }
}

impl Action for Release {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.release(&self.0[0], &self.0[1])?;
        Ok(Effect::Had)
    }
}

impl Action for Partition {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.0.clone();
        if mesh.partition(&a, &b)? > 0 {
            return Ok(Effect::Had);
        }
        let before = mesh.blocked(&a, &b);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.blocked(&a, &b) > before)))
    }
}

impl Action for Heal {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.heal(&self.0[0], &self.0[1])?;
        Ok(Effect::Had)
    }
}

impl Action for Latency {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.between.clone();
        mesh.set_latency(&a, &b, self.is.0);
        let before = mesh.traffic(&a, &b);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.traffic(&a, &b) > before)))
    }
}
