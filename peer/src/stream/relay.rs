//! Both directions of one request, each closed separately.
//!
//! One task drives both directions. An idle relay holds no buffer: bytes are read onto
//! the stack and written at once. Only what the other side does not accept is kept, at
//! most [`RELAY_BYTES`] per direction, and that direction is not read from until it is
//! gone. A read that fills the stack starts bulk: a [`Carrier`] takes over, a pooled
//! buffer or what the network provides, and is returned when the stream pauses.

mod alarm;
mod both;
mod buffer;
mod carrier;
mod converse;
mod direction;
mod gated;
mod meter;
mod patience;
mod side;
mod vigil;

pub use both::{carry_both, copy_both};
pub use buffer::Buffer;
pub use carrier::Carrier;
pub use converse::{Ahead, Leaving, Over, converse};
pub use meter::{Meter, RelayError, Uncounted};
pub use side::Side;
pub use vigil::{Outstanding, Unacknowledged, Vigil};

#[cfg(test)]
mod tests;
