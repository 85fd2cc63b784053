//! The checks of a service as an operator writes them: `health` in a `[[service]]` table.

use serde::Deserialize;

use super::values::from_text;
use crate::config::{Expect, Health, Probe};
use crate::names::Name;

/// `health = { tcp = true }`, or `{ http = "/healthz", … }`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HealthTable {
    tcp: Option<bool>,
    http: Option<String>,
    #[serde(deserialize_with = "from_text")]
    host: Option<Name>,
    #[serde(deserialize_with = "from_text")]
    expect: Option<Expect>,
    #[serde(deserialize_with = "from_text")]
    every: Option<humantime::Duration>,
    #[serde(deserialize_with = "from_text")]
    timeout: Option<humantime::Duration>,
    fall: Option<u32>,
    rise: Option<u32>,
}

impl HealthTable {
    /// What it means, with a default for what it does not say.
    ///
    /// # Errors
    /// What cannot be meant.
    pub(super) fn health(self) -> Result<Health, String> {
        let tcp = self.tcp.unwrap_or(false);
        let probe = match self.http {
            Some(_) if tcp => {
                return Err("health has both tcp and http: keep one, for http connects, too".into());
            }
            Some(path) => {
                let expect = self.expect.unwrap_or(Expect::SUCCESS);
                Probe::Http { path, host: self.host, expect }
            }
            None if !tcp => {
                return Err("health needs tcp = true, or http = \"/path\"; without checks, \
                            leave it out"
                    .into());
            }
            None if self.expect.is_some() || self.host.is_some() => {
                return Err("health.expect and health.host are for http: set http = \"/path\" \
                            in place of tcp"
                    .into());
            }
            None => Probe::Tcp,
        };
        let usual = Health::default();
        let every = self.every.map_or(usual.every, Into::into);
        Ok(Health {
            probe,
            every,
            timeout: self.timeout.map_or(usual.timeout.min(every), Into::into),
            fall: self.fall.unwrap_or(usual.fall),
            rise: self.rise.unwrap_or(usual.rise),
        })
    }
}
