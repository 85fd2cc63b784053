//! What all kinds of steps have in common.

use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;

/// What a kind of step says of itself.
pub trait Described {
    /// Whether everything that it refers to exists.
    ///
    /// # Errors
    /// The key and the value at fault.
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem>;

    /// Short, for traces and reports.
    fn title(&self) -> String;
}
