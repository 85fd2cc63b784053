//! Listens in on connections: which are links, which are DATA connections, which
//! protocol lines went over them, in clear text or inside TLS, and what became of each
//! FORWARD.
//!
//! Nothing here may know hosts: bytes and the ends that wrote them come in.

mod connections;
mod forwards;
mod heard;
mod records;
mod requests;

pub use connections::Tap;
pub use forwards::{Forwards, Tally};
pub use heard::{Idled, Role};
