//! Connections and what runs over them: the seam to the network, clear text or TLS, lines,
//! and bytes or datagrams both ways.
//!
//! Nothing here may know names, routes, links or requests.

pub mod alert;
mod answers;
pub mod control;
pub mod datagrams;
pub mod dial;
pub mod lingering;
pub mod net;
pub mod quiet;
pub mod relay;
pub mod resolve;
pub mod transport;
pub mod via;
