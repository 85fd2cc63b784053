//! A configuration that changes while its peer runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::offer::OfferSpec;
use crate::scenario::peer::PeerSpec;
use crate::scenario::problem::Problem;

/// A peer is given another configuration, as when its file changes: from now on, it serves
/// these names and no others. The rest stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Configure {
    /// The peer.
    pub peer: String,
    /// The names served, each with its backend as `host:port`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, String>,
    /// What it says about some of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offers: BTreeMap<String, OfferSpec>,
}

impl Configure {
    /// A peer that was so, as it is now.
    pub fn of(&self, before: &PeerSpec) -> PeerSpec {
        PeerSpec { services: self.services.clone(), offers: self.offers.clone(), ..before.clone() }
    }
}

impl Described for Configure {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.peer)?;
        let after = self.of(&cast.peers[&self.peer]);
        let config = after.config(&self.peer);
        config.map_err(|(key, value, message)| Problem::new(key, &value, message))?;
        for backend in self.services.values() {
            cast.check_endpoint("services", backend)?;
        }
        Ok(())
    }

    fn title(&self) -> String {
        let names: Vec<&str> = self.services.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => format!("configure {}: it serves nothing", self.peer),
            false => format!("configure {}: it serves {}", self.peer, names.join(" and ")),
        }
    }
}
