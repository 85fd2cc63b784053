//! What must hold in every run, without a scenario asking.
//!
//! Nothing here may change the mesh: it is looked at, and compared with models of it.

mod access;
mod calm;
mod chance;
mod counts;
mod health;
mod invariants;
mod model;
mod outcomes;
mod overheard;
mod pace;
mod quiet;
mod relied;
mod seen;
mod standing;
mod trust;
mod wanted;

pub use access::check_access;
pub use calm::Verdict;
pub use invariants::Invariants;
pub use model::names_to_come;
pub use outcomes::{check_bytes, check_outcome};
pub use pace::answers_within;
pub use quiet::is_quiet;
