//! Sessions of several peers with one listening peer: `mesh` of the peer, with its
//! routes and its pending ids, against a small model.

mod events;
mod model;
mod sent;

pub use events::session;
