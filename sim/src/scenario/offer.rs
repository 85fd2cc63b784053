//! What a peer of a scenario says about a name that it serves.

use std::collections::BTreeMap;

use ops_proxy::config::Service;
use ops_proxy::offer::{Way, Ways};
use serde::{Deserialize, Serialize};

use super::health::HealthSpec;

/// The terms of a service. Without them it is open in every way, CONNECT too, and heads
/// go through as they are, which is not so with the real peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfferSpec {
    /// The ways in which it may be reached; all if absent, UDP if it has a backend of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ways: Option<Vec<String>>,
    /// Backends of their own for some ways.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<String, String>,
    /// Networks of the clients that may reach it; all if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// HTTP requests say who the client is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// The backend speaks HTTP/2 in clear text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub h2c: bool,
    /// Its backends are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
}

impl OfferSpec {
    /// The service whose common backend is `service`'s, on these terms.
    ///
    /// # Errors
    /// The value at fault, and what is wrong with it.
    pub fn apply(&self, mut service: Service) -> Result<Service, (String, String)> {
        fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
            text: &str,
        ) -> Result<T, (String, String)> {
            text.parse().map_err(|error: T::Err| (text.to_owned(), error.to_string()))
        }
        for (way, backend) in &self.own {
            service.own.insert(read(way)?, read(backend)?);
        }
        service.terms.ways = match &self.ways {
            Some(ways) => ways.iter().map(|way| read(way)).collect::<Result<Ways, _>>()?,
            None => {
                let usual = Ways::USUAL.with(Way::Connect);
                service.own.keys().copied().fold(usual, Ways::with)
            }
        };
        service.terms.allow = self.allow.iter().map(|net| read(net)).collect::<Result<_, _>>()?;
        service.terms.forwarded = self.forwarded;
        service.terms.h2c = self.h2c;
        service.health = self.health.as_ref().map(HealthSpec::health).transpose()?;
        Ok(service)
    }
}
