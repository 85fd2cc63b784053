//! What a peer tells of itself: metrics, and the pages that an operator asks for.
//!
//! Nothing here may change what a peer does.

pub mod admin;
pub mod metrics;
