//! Plays a scenario from its first step to the last closed connection.
//!
//! Nothing here may know why a scenario is played: one seed is one run.

mod heal;
mod log;
mod memo;
mod play;
mod played;
mod player;
mod reached;
mod sample;
mod stage;
mod story;

pub(crate) use heal::HEALED_WITHIN;
pub use play::{Options, run};
pub use played::Played;
pub use reached::Reached;
pub use sample::Sample;
