//! The kinds of steps: what each says, and whether that can be meant.
//!
//! Nothing here may know the mesh that a step is done to.

mod backend;
mod clock;
mod configure;
mod crash;
mod described;
mod exchange;
mod expect;
mod files;
mod life;
mod names;
mod raw;
mod request;
mod via;
mod ways;

pub use backend::Backend;
pub use clock::Clock;
pub use configure::Configure;
pub use crash::{Crash, How, Restart};
pub use described::Described;
pub use exchange::{Answer, Exchange, Fault, plain_name};
pub use expect::{Checkpoint, Expect};
pub use files::{Reload, Replace};
pub use life::{Drain, Freeze, Stop, Thaw};
pub use names::Dns;
pub use raw::{Close, Raw};
pub use request::{Request, Talk};
pub use via::Via;
pub use ways::{Heal, Hold, Latency, Lose, Partition, Release};
