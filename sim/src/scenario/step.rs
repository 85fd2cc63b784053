//! One step: when, and what. One kind of step is a line in the table below, a type in
//! [`steps`](super::steps), and what it does to a mesh in [`actions`](crate::actions).

use serde::{Deserialize, Serialize};

use super::cast::Cast;
use super::problem::Problem;
use super::steps::{
    Backend, Checkpoint, Clock, Configure, Crash, Described, Dns, Drain, Expect, Freeze, Heal,
    Hold, Latency, Lose, Partition, Raw, Release, Reload, Replace, Request, Restart, Stop, Thaw,
};
use super::units::Time;

macro_rules! steps {
    ($($(#[$doc:meta])* $key:ident: $kind:ident,)+) => {
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
        const KINDS: &[&str] = &[$(stringify!($key),)+];

        impl Step {
            /// What this step does; `None` unless it is exactly one thing.
            fn only_kind(&self) -> Option<Kind<'_>> {
                let all = [$(self.$key.as_ref().map(Kind::$kind),)+];
                let mut all = all.into_iter().flatten();
                all.next().filter(|_| all.next().is_none())
            }
        }

        /// What one step does.
        #[derive(Debug, Clone, Copy)]
        pub enum Kind<'a> {
            $($(#[$doc])* $kind(&'a $kind),)+
        }

        impl<'a> Kind<'a> {
            /// The key under which it stands.
            pub fn key(self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($key),)+ }
            }

            fn described(self) -> &'a dyn Described {
                match self { $(Self::$kind(kind) => kind,)+ }
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
    /// What one host sends to another is lost, and their connections with it.
    lose: Lose,
    /// Ends a partition, or a loss.
    heal: Heal,
    /// Changes how long the way between two hosts takes.
    latency: Latency,
    /// A host's software ends without notice.
    crash: Crash,
    /// A host's software starts (again).
    restart: Restart,
    /// Changes what a name resolves to.
    dns: Dns,
    /// Sets a host's wall clock wrong, or right again.
    clock: Clock,
    /// Changes how a backend behaves.
    backend: Backend,
    /// A peer serves other names from now on, as when its configuration file changes.
    configure: Configure,
    /// Replaces files of a peer's TLS.
    replace: Replace,
    /// A peer looks at the files of its TLS now, as by SIGHUP.
    reload: Reload,
    /// A peer is told to drain, as by the first SIGTERM.
    drain: Drain,
    /// A peer is told to stop now, as by the second SIGTERM.
    stop: Stop,
    /// The process of a peer is stopped, as by SIGSTOP.
    freeze: Freeze,
    /// It goes on, as by SIGCONT.
    thaw: Thaw,
}

impl Kind<'_> {
    /// Short, for traces and reports.
    pub fn title(self) -> String {
        self.described().title()
    }
}

impl Step {
    /// The step's one thing to do.
    ///
    /// # Panics
    /// On a step that was not [checked](Self::check).
    pub fn kind(&self) -> Kind<'_> {
        self.only_kind().expect("a checked step does one thing")
    }

    /// Whether it does one thing, and everything that it refers to exists.
    ///
    /// # Errors
    /// The key and the value at fault.
    pub fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        if self.at.is_some() && self.after.is_some() {
            return Err(Problem::new("after", "", "a step has `at` or `after`, not both"));
        }
        let one = format!("a step does exactly one of: {}", KINDS.join(", "));
        let kind = self.only_kind().ok_or_else(|| Problem::new("steps", "", one))?;
        let within = |problem: Problem| {
            let key = format!("{}.{}", kind.key(), problem.key);
            Problem { key, ..problem }
        };
        kind.described().check(cast).map_err(within)
    }
}
