//! What names resolve to.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;

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

impl Described for Dns {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        self.host.as_ref().map_or(Ok(()), |host| cast.check_host("host", host))
    }

    fn title(&self) -> String {
        format!("{} resolves to {}", self.name, self.host.as_deref().unwrap_or("nothing"))
    }
}
