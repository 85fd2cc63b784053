//! How a service of a scenario is checked.

use ops_proxy::config::{Health, Probe};
use serde::{Deserialize, Serialize};

use super::units::Time;

/// The checks of a service: a connection, or a GET where there is a path. What is absent is
/// as with the real peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSpec {
    /// The path of a GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// The statuses that are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Time>,
    /// How long one may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// Failures that withdraw the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Successes that bring it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
}

impl HealthSpec {
    /// As the peer has it.
    ///
    /// # Errors
    /// The value at fault, and what is wrong with it.
    pub fn health(&self) -> Result<Health, (String, String)> {
        let usual = Health::default();
        let expect = self.expect.as_deref().unwrap_or("2xx");
        let probe = match &self.http {
            Some(path) => Probe::Http {
                path: path.clone(),
                host: None,
                expect: expect.parse().map_err(|error: ops_proxy::config::BadExpect| {
                    (expect.to_owned(), error.to_string())
                })?,
            },
            None => Probe::Tcp,
        };
        let every = self.every.map_or(usual.every, |time| time.0);
        Ok(Health {
            probe,
            every,
            timeout: self.timeout.map_or(usual.timeout.min(every), |time| time.0),
            fall: self.fall.unwrap_or(usual.fall),
            rise: self.rise.unwrap_or(usual.rise),
        })
    }
}
