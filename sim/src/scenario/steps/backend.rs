//! Backends that change.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::backend::BackendKind;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::{Size, Time};

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

impl Described for Backend {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        match cast.backends.contains_key(&self.host) {
            true => Ok(()),
            false => {
                let known = cast.backends.keys().map(String::as_str);
                Err(Problem::unknown("host", "backend", &self.host, known))
            }
        }
    }

    fn title(&self) -> String {
        format!("{} becomes {:?}", self.host, self.kind)
    }
}
