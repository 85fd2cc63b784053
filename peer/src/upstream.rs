//! The listening peers that this one has links to: how they are dialled, and asked to route
//! what this peer's own public side is asked for.
//!
//! Nothing here may know a link or where a request came from.

mod open;
mod target;

pub use open::{NotOpened, Opened, open};
pub use target::{DialPeerError, DialledPeer, Target, broken};
