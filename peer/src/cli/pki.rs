//! `ops-proxy pki`: a CA and the certificates of its peers, for meshes that have
//! no other CA.
//!
//! Keys are ECDSA P-256, which every TLS stack, HSM and inspection tool supports, so
//! that they can be kept if the mesh moves to another CA.

mod authority;
mod files;
mod index;
mod init;
mod issue;
mod list;
mod revocation;
mod revoke;
mod serial;
pub(super) mod subject;

use std::io::{self, Write as _};
use std::path::Path;

use clap::builder::RangedU64ValueParser;

use self::init::{Ask, Init};
use self::issue::Issue;
use self::list::List;
use self::revoke::Revoke;
use super::Failure;
use crate::config::ConfigError;
use crate::limits::CERTIFICATE_DAYS_MAX;
use crate::names::PeerId;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Create a CA and, with --peer, issue the certificate of a first peer
    Init(Init),
    /// Issue the certificate of a peer; with --force, renew it
    Issue(Issue),
    /// List every certificate that the CA issued, and whether it is valid
    List(List),
    /// Revoke certificates; without --peer and --serial, only create the list for --tls-crl, or sign it again
    Revoke(Revoke),
}

impl Command {
    /// What there is to say at the end.
    fn run(self, ask: Ask) -> Result<String, Failure> {
        match self {
            Self::Init(init) => init.run(ask),
            Self::Issue(issue) => issue.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

pub(super) fn pki(command: Command) -> Result<(), Failure> {
    let said = command.run(init::ask_terminal)?;
    io::stdout().write_all(said.as_bytes())?;
    Ok(())
}

fn days() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=CERTIFICATE_DAYS_MAX)
}

/// The `--dir` that the next command needs.
fn in_dir(dir: &Path) -> String {
    if dir == Path::new("pki") { String::new() } else { format!(" --dir {}", quoted(dir)) }
}

/// A path as it can be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:[]".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Refuses a peer id whose files would be those of the CA or of another peer.
fn reserved(peer: &PeerId) -> Result<(), ConfigError> {
    if ["ca", "crl"].contains(&peer.as_str()) || peer.as_str().ends_with("-key") {
        let problem = format!("{peer}.pem is the name of another file; choose another id");
        return Err(ConfigError::new("peer", problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
