//! The connecting side: links to listening peers, DATA connections dialled ahead, and the
//! FORWARDs that come through either, served by our own backends.
//!
//! Nothing here may know the listening side or the public side.

mod addresses;
mod backoff;
mod ended;
mod held;
mod idle_data;
mod keeper;
mod link;
mod links;
mod offers;
mod pass_on;
mod reached;
mod refused;
mod reserve;
mod serve;

pub use backoff::Backoff;
pub use held::Held;
pub use links::keep_links;
