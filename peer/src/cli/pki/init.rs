//! `ops-proxy pki init`: a new CA. It replaces an existing one only for who names
//! that one, since no certificate of the old CA is accepted any more.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use super::arguments::{days, in_dir};
use super::authority::Authority;
use super::files::{PkiFiles, exists};
use super::index::Index;
use super::issue::Issue;
use super::revocation::Revocations;
use super::subject::{Subject, TrustDomain};
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::limits::{CA_DAYS, CERTIFICATE_DAYS};
use crate::names::PeerId;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Init {
    /// The directory of the CA
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,

    /// The name of the CA, part of the identity of each of its peers: spiffe://NAME/peer/ID
    #[arg(long, value_name = "NAME", default_value = "ops-proxy")]
    trust_domain: TrustDomain,

    /// Days until the CA expires
    #[arg(long, value_name = "N", default_value_t = CA_DAYS, value_parser = days())]
    days: u64,

    /// The id of a first peer, to issue its certificate too
    #[arg(long, value_name = "ID", requires = "name")]
    peer: Option<PeerId>,

    /// A host name, wildcard or IP address that the first peer may register or is reached at; repeat for more
    #[arg(long, value_name = "NAME", requires = "peer")]
    name: Vec<Subject>,

    /// Replace existing files; to replace a CA, confirm with --replace-ca
    #[arg(long)]
    force: bool,

    /// With --force: the trust domain of the CA that is replaced. All its certificates become worthless
    #[arg(long, value_name = "NAME", requires = "force")]
    replace_ca: Option<String>,
}

/// Asks the operator, and returns the line that was typed; `None` if nobody can be
/// asked.
pub(super) type Ask = fn(&str) -> io::Result<Option<String>>;

/// Asks at the terminal, if stdin is one.
pub(super) fn ask_terminal(question: &str) -> io::Result<Option<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    eprint!("{question}");
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(Some(line.trim().to_owned()))
}

impl Init {
    pub(super) fn run(self, ask: Ask) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, self.force);
        let ca = files.of_ca();
        // Nothing is written if one of the files could not be.
        files.check_free(&ca)?;
        if let Some(peer) = &self.peer {
            files.check_free(&files.of_peer(peer)?)?;
        }
        let replaces = exists(&ca.certificate) || exists(&ca.key);
        if replaces {
            self.confirm(&files, ask)?;
        }
        let made = Authority::create(&self.trust_domain, self.days)?;
        let lock = files.lock()?;
        let had_list = exists(&files.of_list());
        files.set_aside_ca()?;
        files.write(&ca, &made)?;
        if had_list {
            // A peer that reads the list at this path would refuse everybody without one.
            let authority = Authority::load(&ca)?;
            files.write_list(&Revocations::none().signed(&authority)?)?;
        }
        drop(lock);
        let mut said = format!(
            "{}: the CA {}, valid until {}; copy it to every peer\n\
             {}: its key, which can issue a certificate for any peer; do not copy it to peers\n",
            ca.certificate.display(),
            self.trust_domain,
            made.until,
            ca.key.display(),
        );
        if replaces {
            let _ = writeln!(
                said,
                "the files of the old CA are kept as *.old; every peer needs a new certificate"
            );
        }
        said += &self.next()?;
        Ok(said)
    }

    /// The certificate of the first peer, or how to get one.
    fn next(self) -> Result<String, Failure> {
        let Some(peer) = self.peer else {
            let force = if self.force { " --force" } else { "" };
            let dir = in_dir(&self.dir);
            return Ok(format!(
                "\nnext, for each peer:\n  ops-proxy pki issue{dir} --peer ID --name NAME{force}\n"
            ));
        };
        let Self { dir, name, force, .. } = self;
        Issue { dir, peer, name, reach: Vec::new(), days: CERTIFICATE_DAYS, force }.run()
    }

    /// Has the operator name the CA that is about to be replaced.
    fn confirm(&self, files: &PkiFiles, ask: Ask) -> Result<(), Failure> {
        let ca = files.of_ca();
        let existing = Authority::trust_domain_of(&ca).map_err(|error| {
            let (certificate, key) = (ca.certificate.display(), ca.key.display());
            Failure::Pki(format!(
                "{error}; the CA cannot be replaced: move {certificate} and {key} away first"
            ))
        })?;
        let loss = format!(
            "replacing the CA {existing} in {} makes every certificate it issued worthless{}",
            self.dir.display(),
            in_use(files),
        );
        let typed = match &self.replace_ca {
            Some(name) => Some(name.clone()),
            None => ask(&format!("{loss}.\nType the name of the CA to replace it: "))?,
        };
        match typed {
            Some(name) if name == existing.to_string() => Ok(()),
            typed => {
                let wrong = typed.map(|name| format!("{name:?} is not the name of the CA; "));
                let wrong = wrong.unwrap_or_default();
                let problem = format!(
                    "{wrong}{loss}; nothing was changed; to replace it, add --replace-ca {existing}"
                );
                Err(ConfigError::new("replace_ca", problem).into())
            }
        }
    }
}

/// How many certificates would be lost, if that can be found out.
fn in_use(files: &PkiFiles) -> String {
    let index = Authority::load(&files.of_ca()).and_then(|ca| Index::load(files, &ca));
    let now = TokioNet.unix_time();
    let unexpired =
        |index: Index| index.records().iter().filter(|record| !record.is_expired(now)).count();
    index.map(unexpired).map_or_else(|_| String::new(), |count| format!(" (unexpired: {count})"))
}
