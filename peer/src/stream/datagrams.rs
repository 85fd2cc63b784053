//! Requests over UDP: datagrams between a client and a backend, at least one of which is
//! reached through a DATA connection.
//!
//! A datagram that cannot be sent is lost, as on any network, and counted. The stream between
//! two peers loses none; who writes faster than it carries waits, and what comes meanwhile
//! waits or is lost where it came.

mod carried;
mod connected;
mod end;
mod relay;

pub use carried::CarriedEnd;
pub use connected::ConnectedEnd;
pub use end::{DatagramEnd, Given, send_each};
pub use relay::{DatagramsOver, relay_datagrams};
