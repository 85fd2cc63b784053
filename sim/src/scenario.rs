//! What a scenario file says: a mesh, what is done to it and when, as data.
//!
//! The format is described in `scenarios/README.md`; people write it and
//! [`explore`](crate::explore) writes it.
//!
//! Nothing here may know hosts, connections or a run: how a step is done stands in
//! [`actions`](crate::actions).

mod backend;
mod cast;
mod certificate;
mod check;
mod file;
mod health;
mod load;
mod offer;
mod peer;
mod problem;
mod real;
mod step;
pub mod steps;
mod tls;
mod units;

pub use backend::{BackendKind, BackendSpec};
pub use cast::Cast;
pub use certificate::{CertificateSpec, RevocationSpec, Usage};
pub use file::{Network, Order, Scenario, serves_for};
pub use health::HealthSpec;
pub use load::BadScenario;
pub use offer::OfferSpec;
pub use peer::PeerSpec;
pub use problem::Problem;
pub use real::RealSpec;
pub use step::{Kind, Step};
pub use tls::{File, TlsSpec, TokenRule};
pub use units::{EPOCH, Moment, Size, Time};
