//! All hosts of one run, and everything that can be done to them.
//!
//! Nothing here may know the steps of a scenario, or what must hold in a run.

mod access;
mod build;
mod files;
mod hosts;
mod kept;
mod obstacle;
mod peers;
mod public;
mod raws;
mod simulation;
mod slot;
mod ways;

pub use access::Sums;
pub use kept::Kept;
pub use raws::Opening;
pub use simulation::Mesh;
