//! What is known of a scenario on the real binary: that it is not played there, or that
//! something comes out otherwise, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::units::Time;

/// What is known of a scenario on the real binary. Without a word it must come out there as
/// in the simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RealSpec {
    /// Why it is not played there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// Why it comes out otherwise there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// What is expected may come true this much later there, where chance decides when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Time>,
    /// The metrics (without `ops_proxy_`) and the peers whose last values are not compared,
    /// each with why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub uncompared: BTreeMap<String, String>,
}

impl RealSpec {
    /// Whether there is nothing to say.
    pub(super) fn is_silent(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it can be meant.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let causes = [("skip", &self.skip), ("differs", &self.differs)];
        let causes = causes.into_iter().filter_map(|(key, cause)| Some((key, cause.as_ref()?)));
        let uncompared = self.uncompared.iter().map(|(metric, cause)| (metric.as_str(), cause));
        for (key, cause) in causes.chain(uncompared) {
            if cause.trim().is_empty() {
                return Err(Problem::new(&format!("real.{key}"), cause, "say why"));
            }
        }
        if let (Some(skip), true) = (&self.skip, self.differs.is_some()) {
            let message = "what is not played cannot differ: keep `skip` or `differs`";
            return Err(Problem::new("real.skip", skip, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_and_what_is_skipped_does_not_differ() {
        let because = || Some("because".to_owned());
        let is_good = |spec: &RealSpec| spec.check().is_ok();
        assert!(is_good(&RealSpec::default()));
        let skipped = RealSpec { skip: because(), ..RealSpec::default() };
        assert!(is_good(&skipped));
        assert!(!is_good(&RealSpec { differs: because(), ..skipped }));
        let mut silent = RealSpec { differs: Some(" ".to_owned()), ..RealSpec::default() };
        assert!(!is_good(&silent));
        silent.differs = None;
        silent.uncompared.insert("links".to_owned(), String::new());
        assert!(!is_good(&silent));
    }
}
