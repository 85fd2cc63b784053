//! Who else on this machine can write or read the files, by their permission bits
//! (POSIX.1, `chmod`). Of a symbolic link, its target counts.
//!
//! Readable secrets are only warned about: one that Kubernetes mounts can be read by
//! anyone in its container unless told otherwise.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, TlsConfig};
use crate::stream::net::Net;

const ANYONE_READS: u32 = 0o004;
const ANYONE_WRITES: u32 = 0o002;

/// The keys of the files that hold secrets.
const SECRET: [&str; 3] = ["tls_key", "token_file", "accept_tokens"];

/// A secret that anyone on this machine can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: anyone on this machine can read {path}; run: chmod 600 {path}", path = .path.display())]
pub(super) struct Exposed {
    /// The key of the file in the configuration.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// A file that decides who is let in must not be writable by anyone.
///
/// # Errors
/// `key`, and what to do about it.
pub fn check_writers<N: Net>(net: &N, key: &'static str, path: &Path) -> Result<(), ConfigError> {
    if has(net, path, ANYONE_WRITES) {
        let path = path.display();
        let problem = format!("anyone on this machine can write {path}; run: chmod o-w {path}");
        return Err(ConfigError::new(key, problem));
    }
    Ok(())
}

/// The files of secrets that anyone can read.
pub(super) fn exposed<N: Net>(net: &N, config: &TlsConfig) -> Vec<Exposed> {
    config
        .files()
        .filter(|(key, path)| SECRET.contains(key) && has(net, path, ANYONE_READS))
        .map(|(key, path)| Exposed { key, path: path.clone() })
        .collect()
}

/// Whether anyone on this machine can read `path`, a secret.
pub fn is_exposed<N: Net>(net: &N, path: &Path) -> bool {
    has(net, path, ANYONE_READS)
}

/// A file that is not there has none; reading it says so.
fn has<N: Net>(net: &N, path: &Path, bit: u32) -> bool {
    net.file_mode(path).ok().flatten().is_some_and(|mode| mode & bit != 0)
}
