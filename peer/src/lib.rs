//! The library behind the `ops-proxy` binary.
//!
//! The way of a request reads along the modules: [`listener`] accepts,
//! [`classify`] finds the name, [`routes`] chooses a provider, [`forward`]
//! gets a DATA connection that [`fetch`] asks for, down an idle one or the provider's
//! [`link`], and [`relay`] carries the bytes. On the other side [`dial_back`] keeps
//! links to listening peers and [`idle_data`] connections beside them; [`serve`]
//! answers FORWARD lines.
//!
//! | pure decisions (no socket, no clock, no randomness) | the shell |
//! |---|---|
//! | [`names`], [`limits`], [`wire`], [`classify`], [`routes`], [`pending`], [`backoff`], [`reserve`] | [`net`], [`listener`], [`link`], [`forward`], [`fetch`], [`dial_back`], [`idle_data`], [`serve`], [`relay`], [`metrics`], [`admin`], [`peer`], [`cli`] |

pub mod admin;
pub mod admission;
pub mod auth;
pub mod backoff;
pub mod classify;
pub mod cli;
pub mod config;
pub mod control;
pub mod dial;
pub mod dial_back;
pub mod fetch;
pub mod forward;
pub mod handshake;
pub mod idle_data;
pub mod limits;
pub mod link;
pub mod listener;
pub mod mesh;
pub mod metrics;
pub mod names;
pub mod net;
pub mod peer;
pub mod pending;
pub mod refusal;
pub mod relay;
pub mod request;
pub mod reserve;
pub mod routes;
pub mod serve;
pub mod shared;
pub mod tasks;
pub mod tls;
pub mod transport;
pub mod wire;
