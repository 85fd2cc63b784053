//! Backends that change.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::{BackendKind, Problem, Scenario, Size, Time};

/// Changes how a backend treats connections from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its host.
    pub host: String,
    /// How it behaves.
    pub kind: BackendKind,
    /// As in the backend's own description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// As in the backend's own description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Size>,
    /// As in the backend's own description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Size>,
}

impl Action for Backend {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        match scenario.backends.contains_key(&self.host) {
            true => Ok(()),
            false => {
                let known = scenario.backends.keys().map(String::as_str);
                Err(Problem::unknown("host", "backend", &self.host, known))
            }
        }
    }

    fn title(&self) -> String {
        format!("{} becomes {:?}", self.host, self.kind)
    }

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

    fn is_fault(&self) -> bool {
        true
    }
}
