//! The library behind the `ops-proxy` binary.
//!
//! The way of a request reads along the modules: [`listener`] accepts,
//! [`classify`] finds the name, [`routes`] chooses a provider, [`forward`]
//! fetches a DATA connection over the provider's [`link`], [`relay`] carries the
//! bytes. On the other side [`dial_back`] keeps links to listening peers and
//! answers their FORWARD lines.
//!
//! | pure decisions (no socket, no clock, no randomness) | the shell |
//! |---|---|
//! | [`names`], [`limits`], [`wire`], [`classify`], [`routes`], [`pending`], [`backoff`] | [`net`], [`listener`], [`link`], [`forward`], [`dial_back`], [`relay`], [`metrics`], [`admin`], [`peer`], [`cli`] |

pub mod backoff;
pub mod classify;
pub mod config;
pub mod limits;
pub mod names;
pub mod net;
pub mod relay;
pub mod wire;
