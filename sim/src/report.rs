//! One self-contained page about one run: who spoke to whom, what was done to
//! them, and what the metrics made of it.
//!
//! Nothing here may know more of a run than what came of it.

mod html;
mod page;
mod plots;
mod sequence;

pub use page::page;
