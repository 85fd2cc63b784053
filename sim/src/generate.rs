//! Scenarios drawn at random, as people would write them.
//!
//! Swarm style: a seed first draws what may happen at all and how hot it gets,
//! so that some runs are all crashes and others never see one. The result is an
//! ordinary [`Scenario`](crate::scenario::Scenario), which can be written to a file and
//! read back.
//!
//! Nothing here may know how a scenario is played.

mod addresses;
mod draw;
mod exchanges;
mod faults;
mod health;
mod http2;
mod instances;
mod manners;
mod mesh;
mod names;
mod scenario;
mod strangers;
mod told;
mod transit;
mod udp;
mod work;

pub use scenario::scenario;
