//! Backends of every temper, on hosts of their own.
//!
//! Nothing here may know peers or clients, but for what a client is known to send.

mod answer;
mod asked;
mod connection;
mod datagrams;
mod host;
mod http2;
mod temper;

pub use host::Backend;
pub use temper::Temper;
