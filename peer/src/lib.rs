//! The library behind the `ops-proxy` binary.
//!
//! The way of a request reads along the folders. [`public`] accepts a connection,
//! [`classify`] finds the name in its first bytes, [`mesh`] chooses a provider, `forward`
//! gets a DATA connection from it, and [`stream`]'s relay carries the bytes. [`listening`]
//! is what connecting peers meet there; [`connecting`] is the other end of their links,
//! which dials backends and DATA connections. `ARCHITECTURE.md` has the map.

pub mod accepting;
pub mod backend;
pub mod classify;
pub mod cli;
pub mod config;
pub mod connecting;
mod follow;
pub mod forward;
pub mod handover;
pub mod http;
pub mod limits;
pub mod listening;
pub mod lock;
pub mod mesh;
pub mod names;
pub mod observe;
pub mod offer;
pub mod peer;
pub mod ports;
pub mod public;
pub mod shared;
pub mod stream;
pub mod tasks;
pub mod trace_context;
pub mod trust;
pub mod upstream;
pub mod version;
pub mod wire;
mod words;
pub mod workers;
