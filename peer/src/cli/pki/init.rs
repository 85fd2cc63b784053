//! `ops-proxy pki init`: a new CA.

use std::path::PathBuf;

use super::authority::Authority;
use super::files::PkiFiles;
use super::issue::Issue;
use super::subject::{Subject, TrustDomain};
use super::{days, in_dir};
use crate::cli::Failure;
use crate::limits::{CA_DAYS, CERTIFICATE_DAYS};
use crate::names::PeerId;

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

    /// Replace existing files
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, self.force);
        let ca = files.of_ca();
        // Nothing is written if one of the files could not be.
        files.check_free(&ca)?;
        if let Some(peer) = &self.peer {
            files.check_free(&files.of_peer(peer)?)?;
        }
        let made = Authority::create(&self.trust_domain, self.days)?;
        let lock = files.lock()?;
        files.write(&ca, &made)?;
        drop(lock);
        let mut said = format!(
            "{}: the CA {}, valid until {}; copy it to every peer\n\
             {}: its key, which can issue a certificate for any peer; do not copy it to peers\n",
            ca.certificate.display(),
            self.trust_domain,
            made.until,
            ca.key.display(),
        );
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
        Issue { dir, peer, name, days: CERTIFICATE_DAYS, force }.run()
    }
}
