//! Which kind of step does what.

use super::effect::Action;
use crate::scenario::Kind;

/// What a step of this kind does.
pub fn action(kind: Kind<'_>) -> &dyn Action {
    match kind {
        Kind::Request(one) => one,
        Kind::Raw(one) => one,
        Kind::Expect(one) => one,
        Kind::Checkpoint(one) => one,
        Kind::Hold(one) => one,
        Kind::Release(one) => one,
        Kind::Partition(one) => one,
        Kind::Lose(one) => one,
        Kind::Heal(one) => one,
        Kind::Latency(one) => one,
        Kind::Crash(one) => one,
        Kind::Restart(one) => one,
        Kind::Dns(one) => one,
        Kind::Clock(one) => one,
        Kind::Backend(one) => one,
        Kind::Configure(one) => one,
        Kind::Replace(one) => one,
        Kind::Reload(one) => one,
        Kind::Drain(one) => one,
        Kind::Stop(one) => one,
        Kind::Freeze(one) => one,
        Kind::Thaw(one) => one,
    }
}
