//! Steps that are done, and the effects by which they are seen.

use std::time::Duration;

use crate::mesh::Mesh;

/// How it is known that a step did something: a fault without effect would let a
/// scenario pass for nothing.
pub enum Effect {
    /// The step had its effect at once, or has none to show.
    Had,
    /// Asked after every tick until it says yes; never by the end of the run is
    /// a failure.
    Watch(Box<dyn FnMut(&Mesh) -> bool>),
}

/// What a kind of step does.
pub trait Action {
    /// Does it.
    ///
    /// # Errors
    /// What made it impossible; the run has then failed.
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String>;

    /// Whether the next step may come, `waited` after this one began.
    ///
    /// # Errors
    /// What was waited for in vain; the run has then failed.
    fn done(&self, _mesh: &Mesh, _waited: Duration) -> Result<bool, String> {
        Ok(true)
    }
}
