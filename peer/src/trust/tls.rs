//! TLS 1.3 between peers: certificates, keys, revocations and tokens from files
//! that are read again when they change.
//!
//! A bad file never replaces a good one: it is counted and logged, and what was
//! loaded before stays.

mod again;
mod alert;
pub mod files;
mod load;
mod modes;
mod revocation;
mod services;
mod session;

pub use again::{Look, Verdict};
pub use alert::in_plain_words;
pub use load::Loaded;
pub use modes::{check_writers, is_exposed};
pub use session::{Session, accept, connect};
