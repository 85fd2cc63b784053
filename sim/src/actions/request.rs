//! What a client asks for.

use super::effect::{Action, Effect};
use crate::client::Ending;
use crate::mesh::Mesh;
use crate::scenario::steps::Request;

impl Action for Request {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        for (later, request) in self.each() {
            mesh.request_later(later, request);
        }
        // That a client leaves midway must not come too late to matter.
        if self.abort_after.is_none() && self.patience.is_none() {
            return Ok(Effect::Had);
        }
        let request = self.clone();
        Ok(Effect::Watch(Box::new(move |mesh| {
            mesh.outcomes().with(|all| {
                all.iter().any(|one| {
                    one.request.from == request.from
                        && one.request.to == request.to
                        && one.request.name == request.name
                        && matches!(one.end, Ending::Left | Ending::GaveUp)
                })
            })
        })))
    }
}
