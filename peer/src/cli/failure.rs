//! Why the command exits with a code other than 0.

use std::io;
use std::num::NonZero;

use crate::config::ConfigError;
use crate::peer::{RunError, StartError};

/// Why the command exits with a code other than 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Exit code 2, as for a bad command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("workers: cannot start {count} threads: {source}; set fewer, or allow more threads")]
    Workers { count: NonZero<u16>, source: io::Error },
    #[error("interrupted by a signal before it finished")]
    Interrupted,
    #[error("{0}")]
    Demo(String),
    #[error("{0}")]
    Pki(String),
    #[error("{0}")]
    Asked(String),
    #[error("{0} of what was dialled could not be reached or said no; the table says what to do")]
    Unreachable(usize),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// 2 for a bad configuration, 1 for anything else.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Start(StartError::Config(_)) => 2,
            Self::Start(StartError::Bind(_))
            | Self::Run(_)
            | Self::Workers { .. }
            | Self::Interrupted
            | Self::Demo(_)
            | Self::Pki(_)
            | Self::Asked(_)
            | Self::Unreachable(_)
            | Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Poisoned;

    #[test]
    fn a_peer_that_a_panic_left_half_dead_ends_with_exit_1_and_says_so() {
        let failure = Failure::from(RunError::from(Poisoned("the tables of the mesh")));
        assert_eq!(failure.exit_code(), 1);
        let said = failure.to_string();
        assert!(said.contains("panic") && said.contains("the tables of the mesh"), "{said}");
    }

    #[test]
    fn a_bad_configuration_is_exit_2_wherever_it_is_found() {
        let bad = || ConfigError::new("listen", "nonsense");
        assert_eq!(Failure::from(bad()).exit_code(), 2);
        assert_eq!(Failure::from(StartError::from(bad())).exit_code(), 2);
    }
}
