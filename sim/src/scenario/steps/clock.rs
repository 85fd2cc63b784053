//! Wall clocks that jump.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::Moment;

/// A host's wall clock jumps; what measures how much time passes does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The host.
    pub host: String,
    /// How far it is ahead of the right time from now on, or behind it if negative.
    pub ahead: Moment,
}

impl Described for Clock {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_host("host", &self.host)
    }

    fn title(&self) -> String {
        format!("the clock of {} is {} ahead", self.host, self.ahead)
    }
}
