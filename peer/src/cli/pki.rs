//! `ops-proxy pki`: a CA and the certificates of its peers, for meshes that have
//! no other CA.
//!
//! Keys are ECDSA P-256, which every TLS stack, HSM and inspection tool supports, so
//! that they can be kept if the mesh moves to another CA.

mod arguments;
mod authority;
mod files;
mod index;
mod init;
mod issue;
mod issued;
mod list;
mod revocation;
mod revoke;
mod serial;
pub(super) mod subject;

use std::io::{self, Write as _};

use self::init::{Ask, Init};
use self::issue::Issue;
use self::list::List;
use self::revoke::Revoke;
use super::failure::Failure;

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

#[cfg(test)]
mod tests;
