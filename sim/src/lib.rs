//! The same peers on a simulated network that breaks on purpose.
//!
//! A [`scenario`] is data: peers, backends, clients and what is done to them,
//! step by step. [`run`] plays it on turmoil, where time and chance are
//! simulated, so that one seed is one run, and checks what must hold at every
//! moment ([`invariants`], [`model`]).
//!
//! | module | what it is |
//! |---|---|
//! | [`scenario`], [`steps`] | the format, and one type for each kind of step |
//! | [`net`], [`fate`], [`fabric`], [`tap`], [`forwards`] | the peer's network seam on turmoil, and what turmoil lacks: resets, timeouts, names, listening in |
//! | [`crypto`], [`certificates`], [`files`] | TLS without chance: what rustls draws on, what CAs sign, and the files that peers read |
//! | [`mesh`] | all hosts of a run, and what can be done to them |
//! | [`client`], [`backend`] | the two ends of a request |
//! | [`run`], [`invariants`], [`model`], [`trust`], [`metrics`] | playing a scenario, and what must hold meanwhile |
//! | [`trace`], [`log`], [`sample`], [`report`] | what happened |
//! | [`explore`], [`generate`], [`shrink`], [`reached`] | random scenarios by the thousand, those that fail made small, and what was reached at all |

pub mod backend;
pub mod certificates;
pub mod client;
pub mod crypto;
pub mod explore;
pub mod fabric;
pub mod fate;
pub mod files;
pub mod forwards;
pub mod generate;
pub mod invariants;
pub mod log;
pub mod mesh;
pub mod metrics;
pub mod model;
pub mod net;
pub mod reached;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod shrink;
pub mod steps;
mod story;
pub mod tap;
pub mod trace;
pub mod trust;
