//! What a peer knows of its mesh: who serves which name, which requests wait, and who
//! is let in. Tables and their transitions, each made together with the metrics that it
//! means.
//!
//! Nothing here may wait, dial or read a connection.

pub mod admission;
pub mod hubs;
pub mod links;
pub mod look;
pub mod notice;
pub mod outgoing;
pub mod pending;
pub mod request;
pub mod returning;
pub mod routes;
pub mod tables;
pub mod tally;
pub mod unwell;
pub mod waiting;
