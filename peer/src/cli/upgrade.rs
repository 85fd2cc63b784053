//! An upgrade without an interruption: on SIGUSR2, this process starts the program anew and
//! hands its sockets over. What runs here goes on until it ends.
//!
//! Nothing changes if the new process does not get ready.

mod begun;
mod message;
mod predecessor;
mod successor;

pub(super) use predecessor::Takeover;
pub(super) use successor::{Succeeded, Upgrader};
