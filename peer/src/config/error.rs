//! What an operator is told of a configuration that cannot be used.

use std::fmt;

/// A peer cannot be started as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key at fault, as it stands in the TOML file; the flag has `-` for `_`.
    pub key: String,
    /// What is wrong with it, for the operator.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { key: key.into(), problem: problem.to_string() }
    }
}
