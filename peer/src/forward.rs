//! From a name to a stream that its backend answers on: a provider is chosen and asked for
//! a DATA connection, a backend of our own is dialled, or a listening peer is asked. Requests come from the
//! [public side](crate::public), or from a listening peer that asks us to pass them on.
//!
//! Nothing here may know where a request came from.

mod asked;
mod fetch;
mod held;
mod on;
mod reach;
mod route;

pub use asked::Asked;
pub use on::forward_on;
pub use route::{Assigned, Forwarded, NotForwarded, Onward, forward};
