//! Why the command exits with a code other than 0.

use std::io;

use crate::config::ConfigError;
use crate::peer::StartError;

/// Why the command exits with a code other than 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Exit code 2, as for a bad command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("interrupted by a signal before it finished")]
    Interrupted,
    #[error("{0}")]
    Demo(String),
    #[error("{0}")]
    Pki(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}
