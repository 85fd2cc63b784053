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
    /// The hosts that it stands for, where it is several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// How long a lookup takes from now on; at once if absent. The system's resolver
    /// gives up after twenty seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Time>,
}

impl Dns {
    /// All hosts that the name stands for from now on.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.host.iter().chain(&self.hosts).map(String::as_str)
    }
}

impl Described for Dns {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        if self.host.is_some() && !self.hosts.is_empty() {
            return Err(Problem::new("hosts", "", "a name has `host` or `hosts`, not both"));
        }
        self.host.iter().try_for_each(|host| cast.check_host("host", host))?;
        self.hosts.iter().try_for_each(|host| cast.check_host("hosts", host))
    }

    fn title(&self) -> String {
        let after = self.takes.map_or_else(String::new, |takes| format!(" after {takes}"));
        let all: Vec<&str> = self.all().collect();
        let hosts = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        format!("{} resolves to {hosts}{after}", self.name)
    }
}
