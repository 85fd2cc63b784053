//! What the operator said: flags, environment and file, merged into one
//! [`PeerConfig`].
//!
//! Each setting is one field of [`Settings`], and so one flag, one environment
//! variable (`OPS_PROXY_` and the flag) and one key of the TOML file (the flag
//! with `_` for `-`), all with the same textual form. Flags win over the
//! environment, the environment over the file; a list is taken whole from the
//! first that has it.

mod checked;
mod file;
mod files;
mod flags;
mod health;
mod service;
mod values;
mod via;

pub(super) use checked::DEFAULT_ADMIN;
pub use checked::Surroundings;
pub use file::unknown_variables;
pub use files::from_files;
pub use flags::Settings;
pub use values::{Admin, LogFormat, OtlpUrl, Share, Source};
pub use via::{ProxyVariables, ViaText};

#[cfg(test)]
mod tests;
