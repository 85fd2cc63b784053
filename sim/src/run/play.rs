//! One scenario, played once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use tracing::Dispatch;

use super::log::Log;
use super::played::Played;
use super::player::Player;
use crate::network::Fabric;
use crate::scenario::Scenario;

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instead of the scenario's own.
    pub seed: Option<u64>,
    /// Keep all events, for a trace or a report.
    pub record: bool,
}

/// Plays a scenario that was [loaded](Scenario::load), and so checked.
pub fn run(scenario: &Scenario, options: &Options) -> Played {
    let seed = options.seed.unwrap_or(scenario.seed);
    let fabric = Fabric::new(options.record);
    let log = Arc::new(Log::new(fabric.clone(), options.record));
    let scenario = Rc::new(scenario.clone());
    let mut player = Player::new(scenario, seed, fabric.clone(), log.clone(), options.record);
    let played = tracing::dispatcher::with_default(&Dispatch::new(log), || {
        catch_unwind(AssertUnwindSafe(|| player.play()))
    });
    let failure = match played {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    };
    let mut state = fabric.state();
    Played {
        seed,
        hash: state.trace.hash(),
        failure,
        lasted: player.lasted,
        quiet_after: player.quiet_after.unwrap_or(player.lasted),
        kept: player.kept,
        outcomes: player.outcomes,
        raws: player.raws,
        events: state.trace.take_events(),
        samples: player.samples,
        probes: player.probes,
        reached: player.reached,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
