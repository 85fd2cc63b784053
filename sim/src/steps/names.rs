//! What names resolve to.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::{Problem, Scenario};

/// Changes what a name resolves to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name that is looked up.
    pub name: String,
    /// The host that it stands for from now on; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Action for Dns {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        self.host.as_ref().map_or(Ok(()), |host| scenario.check_host("host", host))
    }

    fn title(&self) -> String {
        format!("{} resolves to {}", self.name, self.host.as_deref().unwrap_or("nothing"))
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.set_name(&self.name, self.host.as_deref());
        let name = self.name.clone();
        let before = mesh.lookups(&name);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.lookups(&name) > before)))
    }

    fn defines_name(&self, name: &str) -> bool {
        self.name == name
    }

    fn is_fault(&self) -> bool {
        true
    }
}
