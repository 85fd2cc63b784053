//! What names resolve to, and how long that takes.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::Time;

/// Changes what a name resolves to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name that is looked up.
    pub name: String,
    /// The host that it stands for from now on; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How long a lookup takes from now on; at once if absent. The system's resolver
    /// gives up after twenty seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Time>,
}

impl Described for Dns {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        self.host.as_ref().map_or(Ok(()), |host| cast.check_host("host", host))
    }

    fn title(&self) -> String {
        let after = self.takes.map_or_else(String::new, |takes| format!(" after {takes}"));
        format!("{} resolves to {}{after}", self.name, self.host.as_deref().unwrap_or("nothing"))
    }
}
