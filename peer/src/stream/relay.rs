//! Both directions of one request, each closed on its own.
//!
//! One task drives both directions. An idle relay holds no buffer: bytes are
//! read onto the stack and written at once; only what the other side does not
//! take is kept, at most [`RELAY_BYTES`] a direction, and nothing more is read
//! from that direction until it is gone. A read that fills the stack is the
//! beginning of bulk: a [`Carrier`] takes over, a pooled buffer or what the network
//! has for it, and goes back when the stream pauses.

mod both;
mod buffer;
mod carrier;
mod direction;
mod meter;
mod side;

pub use both::{carry_both, copy_both};
pub use buffer::Buffer;
pub use carrier::Carrier;
pub use meter::{Meter, RelayError};
pub use side::Side;

#[cfg(test)]
mod tests;
