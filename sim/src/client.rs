//! The public's side: hosts that send requests and write raw connections.
//!
//! Nothing here may know peers or the mesh: a client is told what to do.

mod conversation;
mod datagrams;
mod directions;
mod exchange;
mod hello;
mod host;
mod http2;
mod orders;
mod outcome;
mod pace;
mod paced;
mod progress;
mod raw;
mod script;
mod stream;
mod told;

pub use hello::is_hello_taken;
pub use host::{Client, LONGEST_REQUEST};
pub use orders::{Order, Orders};
pub use outcome::{Answered, Ending, Outcome, Outcomes};
pub use raw::{Heard, RawOrder, Say};
