//! Peers that are told to go.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;

/// A peer drains, as on the first SIGTERM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drain(pub String);

impl Described for Drain {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("drain {}", self.0)
    }
}

/// A peer stops now, as on the second SIGTERM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop(pub String);

impl Described for Stop {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("stop {}", self.0)
    }
}
