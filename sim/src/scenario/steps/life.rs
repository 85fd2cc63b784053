//! Peers that are told to go, or to stand still.

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

/// The process of a peer is stopped, as by SIGSTOP: its connections stay, and nothing is read
/// from them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Freeze(pub String);

impl Described for Freeze {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("freeze {}", self.0)
    }
}

/// The process of a peer goes on, as by SIGCONT.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Thaw(pub String);

impl Described for Thaw {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.0)
    }

    fn title(&self) -> String {
        format!("thaw {}", self.0)
    }
}
