//! What a scenario can do, one kind of step a line in the table below and a
//! type with [`Action`] beside it. Nothing else has to know of a new kind.

mod backend;
mod crash;
mod expect;
mod files;
mod life;
mod names;
mod raw;
mod request;
mod ways;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crash::{Crash, How, Restart};
pub use expect::{Checkpoint, Expect};
pub use files::{Reload, Replace};
pub use life::{Drain, Stop};
pub use names::Dns;
pub use raw::{Close, Raw};
pub use request::{Request, Talk, Via};
pub use ways::{Heal, Hold, Latency, Partition, Release};

pub use backend::Backend;

use crate::mesh::Mesh;
use crate::scenario::{Problem, Scenario, Time};

/// How it is known that a step did something: a fault without effect would let a
/// scenario pass for nothing.
pub enum Effect {
    /// The step had its effect at once, or has none to show.
    Had,
    /// Asked after every tick until it says yes; never by the end of the run is
    /// a failure.
    Watch(Box<dyn FnMut(&Mesh) -> bool>),
}

/// What a kind of step is and does.
pub trait Action {
    /// Whether everything that it refers to exists.
    ///
    /// # Errors
    /// The key and the value at fault.
    fn check(&self, scenario: &Scenario) -> Result<(), Problem>;

    /// Short, for traces and reports.
    fn title(&self) -> String;

    /// Does it.
    ///
    /// # Errors
    /// What made it impossible; the run has then failed.
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String>;

    /// Whether the next step may come, `waited` after this one began.
    ///
    /// # Errors
    /// What was waited for in vain; the run has then failed.
    fn done(&self, _mesh: &Mesh, _waited: Duration) -> Result<bool, String> {
        Ok(true)
    }

    /// Whether this step makes `name` resolvable.
    fn defines_name(&self, _name: &str) -> bool {
        false
    }

    /// Whether this breaks something that the run then heals.
    fn is_fault(&self) -> bool {
        false
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $key:ident: $kind:ty,)+) => {
        /// One step: when, and exactly one of the kinds.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Step {
            /// When, from the start of the run.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub at: Option<Time>,
            /// When, from the beginning of the step before.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub after: Option<Time>,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$kind>,)+
        }

        /// The keys of all kinds.
        pub const KINDS: &[&str] = &[$(stringify!($key),)+];

        impl Step {
            /// What this step does, under its key; `None` unless it is exactly
            /// one thing.
            pub fn action(&self) -> Option<(&'static str, &dyn Action)> {
                let all: Vec<(&'static str, &dyn Action)> = [
                    $(self.$key.as_ref().map(|kind| (stringify!($key), kind as &dyn Action)),)+
                ].into_iter().flatten().collect();
                match all[..] { [one] => Some(one), _ => None }
            }
        }

        $(impl From<$kind> for Step {
            fn from(kind: $kind) -> Self { Self { $key: Some(kind), ..Self::default() } }
        })+
    };
}

steps! {
    /// A client asks for something.
    request: Request,
    /// A connection that a scenario writes by hand.
    raw: Raw,
    /// Waits for a metric or a raw connection to be as said.
    expect: Expect,
    /// Keeps the metrics of all listening peers, for the snapshot.
    checkpoint: Checkpoint,
    /// Everything between two hosts waits, and nothing is lost.
    hold: Hold,
    /// What was held goes on.
    release: Release,
    /// Everything between two hosts is lost, and their connections with it.
    partition: Partition,
    /// Ends a partition.
    heal: Heal,
    /// Changes how long the way between two hosts takes.
    latency: Latency,
    /// A host's software ends without notice.
    crash: Crash,
    /// A host's software starts (again).
    restart: Restart,
    /// Changes what a name resolves to.
    dns: Dns,
    /// Changes how a backend behaves.
    backend: Backend,
    /// Replaces files of a peer's TLS.
    replace: Replace,
    /// A peer looks at the files of its TLS now, as by SIGHUP.
    reload: Reload,
    /// A peer is told to drain, as by the first SIGTERM.
    drain: Drain,
    /// A peer is told to stop now, as by the second SIGTERM.
    stop: Stop,
}

impl Step {
    /// The step's one thing to do.
    ///
    /// # Panics
    /// On a step that was not [checked](Self::check).
    pub fn kind(&self) -> &dyn Action {
        self.action().expect("a checked step does one thing").1
    }

    /// Whether it does one thing, and everything that it refers to exists.
    ///
    /// # Errors
    /// The key and the value at fault.
    pub fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        if self.at.is_some() && self.after.is_some() {
            return Err(Problem::new("after", "", "a step has `at` or `after`, not both"));
        }
        let one = format!("a step does exactly one of: {}", KINDS.join(", "));
        let (key, action) = self.action().ok_or_else(|| Problem::new("steps", "", one))?;
        let within =
            |problem: Problem| Problem { key: format!("{key}.{}", problem.key), ..problem };
        action.check(scenario).map_err(within)
    }

    /// Whether this step makes `name` resolvable.
    pub fn defines_name(&self, name: &str) -> bool {
        self.action().is_some_and(|(_, action)| action.defines_name(name))
    }
}
