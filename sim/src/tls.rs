//! TLS without chance: what rustls draws on, what CAs sign, and the files that peers read.
//!
//! Nothing here may know hosts or connections.

pub mod certificates;
mod client;
pub mod crypto;
mod files;

pub use certificates::Certificates;
pub use client::{SimClock, client_config};
pub use files::{Files, Material};
