//! What an operator is told about an invalid configuration.

use std::fmt;

/// The configuration is invalid; no peer can be started with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key at fault, as in the TOML file; the flag has `-` for `_`.
    pub key: String,
    /// What is wrong, for the operator.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { key: key.into(), problem: problem.to_string() }
    }
}
