//! What each kind of step does to the mesh, and how it is known that it did something.
//!
//! Nothing here may know the run that a step is part of.

mod backend;
mod clock;
mod configure;
mod crash;
mod effect;
mod expect;
mod files;
mod kinds;
mod life;
mod names;
mod raw;
mod request;
mod ways;

pub use effect::{Action, Effect};
pub use expect::{heard_amiss, metric_amiss};
pub use files::replaced;
pub use kinds::action;
pub use raw::written;
