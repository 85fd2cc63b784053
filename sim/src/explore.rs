//! Many random scenarios, as fast as the machine plays them; those that fail made small.
//!
//! Nothing here may look into a run: it is played again.

mod panics;
mod search;
mod shrink;

pub use search::{Failure, Found, Plan, explore};
