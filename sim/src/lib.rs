//! The same peers on a simulated network that breaks on purpose.
//!
//! A [`scenario`] is data: peers, backends, clients and what is done to them,
//! step by step. [`run`] plays it on turmoil, where time and chance are
//! simulated, so that one seed is one run, and [`checks`] what must hold at every
//! moment. `ARCHITECTURE.md` has the map.

pub mod actions;
pub mod backend;
pub mod checks;
pub mod client;
pub mod connection;
pub mod explore;
pub mod generate;
pub mod ground;
pub mod mesh;
pub mod message;
pub mod metrics;
pub mod network;
pub mod payload;
pub mod real;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tap;
pub mod tls;
pub mod trace;
