//! What happens to the way between two hosts.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::Time;

fn check_both(cast: &Cast<'_>, [a, b]: &[String; 2]) -> Result<(), Problem> {
    cast.check_host("between", a)?;
    cast.check_host("between", b)?;
    if a == b { Err(Problem::new("between", a, "two different hosts are needed")) } else { Ok(()) }
}

/// Everything between two hosts waits: what a lossy way looks like above TCP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold(pub [String; 2]);

impl Described for Hold {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.0)
    }

    fn title(&self) -> String {
        format!("hold {} and {}", self.0[0], self.0[1])
    }
}

/// What was held goes on, all at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release(pub [String; 2]);

impl Described for Release {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.0)
    }

    fn title(&self) -> String {
        format!("release {} and {}", self.0[0], self.0[1])
    }
}

/// Everything between two hosts is lost from now on. Their connections are dead,
/// which both ends notice after the network's `notices_cut_after`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partition(pub [String; 2]);

impl Described for Partition {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.0)
    }

    fn title(&self) -> String {
        format!("partition {} and {}", self.0[0], self.0[1])
    }
}

/// What the first host sends to the second is lost from now on, acknowledgements too. What the
/// second sends arrives for 200 ms: a kernel that hears of nothing that it has sent sends nothing
/// new. Their connections are dead, which both ends notice after the network's
/// `notices_cut_after`, and no new one comes about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lose(pub [String; 2]);

impl Described for Lose {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.0)
    }

    fn title(&self) -> String {
        format!("lose what {} sends to {}", self.0[0], self.0[1])
    }
}

/// Ends a partition, or a loss: what is sent from now on arrives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heal(pub [String; 2]);

impl Described for Heal {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.0)
    }

    fn title(&self) -> String {
        format!("heal {} and {}", self.0[0], self.0[1])
    }
}

/// Changes how long the way between two hosts takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The two hosts.
    pub between: [String; 2],
    /// The time one way.
    pub is: Time,
}

impl Described for Latency {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        check_both(cast, &self.between)
    }

    fn title(&self) -> String {
        format!("{} between {} and {}", self.is, self.between[0], self.between[1])
    }
}
