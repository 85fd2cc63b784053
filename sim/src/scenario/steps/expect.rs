//! What must be so before the next step.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::metrics::Exported;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::Time;

/// Waits until a metric of a peer, or a raw connection, is as said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The peer whose metric it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The metric, without `ops_proxy_`, with as many labels as needed:
    /// `requests_total{protocol="http"}`. Several series are added up.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric: String,
    /// It has this value; a series that is not there counts as 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<f64>,
    /// It has at least this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// It has at most this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The peer is ready for traffic, or not, as `/readyz` would say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// The raw connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<String>,
    /// It has received this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// It has ended in this way, such as `closed` or `connection reset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How long it may take; absent, it must be so at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Time>,
}

impl Described for Expect {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        if let Some(peer) = &self.peer {
            cast.check_peer("peer", peer)?;
            if self.ready.is_some() && self.metric.is_empty() {
                return Ok(());
            }
            Exported::default()
                .select(&self.metric)
                .map_err(|error| Problem::new("metric", &self.metric, error))?;
            if self.is.or(self.at_least).or(self.at_most).is_none() {
                return Err(Problem::new("is", "", "one of is, at_least and at_most is needed"));
            }
        }
        match (&self.peer, &self.conn) {
            (None, None) => Err(Problem::new("peer", "", "a peer or a raw connection is needed")),
            _ => Ok(()),
        }
    }

    fn title(&self) -> String {
        let mut wanted = Vec::new();
        wanted.extend(self.peer.as_ref().map(|peer| format!("{} of {peer}", self.metric)));
        wanted.extend(self.ready.map(|ready| format!("ready is {ready}")));
        wanted.extend(self.is.map(|is| format!("is {is}")));
        wanted.extend(self.at_least.map(|least| format!("is at least {least}")));
        wanted.extend(self.at_most.map(|most| format!("is at most {most}")));
        wanted.extend(self.conn.clone());
        wanted.extend(self.received.as_ref().map(|text| format!("received {text:?}")));
        wanted.extend(self.ended.as_ref().map(|how| format!("ended: {how}")));
        wanted.extend(self.within.map(|within| format!("within {within}")));
        format!("expect {}", wanted.join(" "))
    }
}

/// Keeps the metrics of all listening peers for the snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint(pub String);

impl Described for Checkpoint {
    fn check(&self, _cast: &Cast<'_>) -> Result<(), Problem> {
        Ok(())
    }

    fn title(&self) -> String {
        format!("checkpoint: {}", self.0)
    }
}
