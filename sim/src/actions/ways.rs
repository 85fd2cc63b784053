//! What happens to the way between two hosts.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Heal, Hold, Latency, Lose, Partition, Release};

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
        let ended = mesh.partition(&a, &b)?;
        Ok(felt(mesh, ended, a, b))
    }
}

impl Action for Lose {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [from, to] = self.0.clone();
        let ended = mesh.lose(&from, &to)?;
        Ok(felt(mesh, ended, from, to))
    }
}

/// A cut is felt if a connection dies of it, or a dial is in vain.
fn felt(mesh: &Mesh, ended: usize, a: String, b: String) -> Effect {
    if ended > 0 {
        return Effect::Had;
    }
    let before = mesh.blocked(&a, &b);
    Effect::Watch(Box::new(move |mesh| mesh.blocked(&a, &b) > before))
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
