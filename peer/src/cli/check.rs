//! `ops-proxy check`: what the peer would do, and where each setting comes from; with `--dial`,
//! whether what it names can be reached. It changes nothing, here or at the other end.

mod backends;
mod command;
mod described;
mod origins;
mod steps;
mod upstreams;

pub(super) use command::{Options, check};
