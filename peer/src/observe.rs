//! What a peer tells of itself: metrics, and the pages that an operator asks for.
//!
//! Nothing here may change what a peer does.

pub mod access;
pub mod admin;
pub mod api;
pub mod journal;
mod log_limit;
pub mod metrics;
pub mod own_links;
mod provoked;
pub mod rates;
pub mod said;
pub mod sinks;
pub mod spans;

pub use log_limit::LogSource;
pub use provoked::Provoked;
