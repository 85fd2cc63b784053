//! `ops-proxy pki`: a CA and the certificates of its peers, for meshes that have
//! no other CA.
//!
//! Keys are ECDSA P-256: of all that TLS 1.3 has, every other TLS stack, HSM and
//! inspection tool knows them, and whoever moves to another CA later can keep
//! them.

mod authority;
mod files;
mod revocation;
pub(super) mod subject;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;

use self::authority::{Authority, Issued, PeerRequest};
use self::files::PkiFiles;
use self::revocation::Revocations;
use self::subject::{Subject, TrustDomain};
use super::Failure;
use crate::config::ConfigError;
use crate::limits::{CA_DAYS, CERTIFICATE_DAYS, CERTIFICATE_DAYS_MAX};
use crate::names::PeerId;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a CA, and with --peer the certificate of a first peer
    Init(Init),
    /// Make the certificate of one peer
    Issue(Issue),
    /// Revoke the certificate of one peer, in the list that --tls-crl names
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    #[command(flatten)]
    place: Place,

    /// What the CA is called in the identities of its peers, spiffe://NAME/peer/ID
    #[arg(long, value_name = "NAME", default_value = "ops-proxy")]
    trust_domain: TrustDomain,

    /// How long the CA lasts
    #[arg(long, value_name = "N", default_value_t = CA_DAYS, value_parser = days())]
    days: u64,

    /// The first peer; without, `pki issue` makes it
    #[arg(long, value_name = "ID", requires = "name")]
    peer: Option<PeerId>,

    /// A name that the first peer is dialled by or may register, wildcards and IP addresses included (a list)
    #[arg(long, value_name = "NAME", requires = "peer")]
    name: Vec<Subject>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Issue {
    #[command(flatten)]
    place: Place,

    /// What the peer calls itself: its --peer-id
    #[arg(long, value_name = "ID")]
    peer: PeerId,

    /// A name that the peer is dialled by or may register, wildcards and IP addresses included (a list)
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<Subject>,

    /// How long the certificate lasts
    #[arg(long, value_name = "N", default_value_t = CERTIFICATE_DAYS, value_parser = days())]
    days: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The directory of the CA and its certificates
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,

    /// The peer whose certificate, DIR/ID.pem, is revoked; without, the list is made or signed anew
    #[arg(long, value_name = "ID")]
    peer: Option<PeerId>,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The directory of the CA and its certificates
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,

    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

fn days() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=CERTIFICATE_DAYS_MAX)
}

pub(super) fn pki(command: Command) -> Result<(), Failure> {
    let said = match command {
        Command::Init(init) => init.run()?,
        Command::Issue(issue) => issue.run()?,
        Command::Revoke(revoke) => revoke.run()?,
    };
    io::stdout().write_all(said.as_bytes())?;
    Ok(())
}

impl Init {
    fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.place.dir, self.place.force);
        // Nothing is written when the first peer could not be.
        let first = match &self.peer {
            Some(peer) => Some((peer, files.of_peer(peer)?)),
            None => None,
        };
        let made = Authority::create(&self.trust_domain, self.days)?;
        let ca = files.of_ca();
        files.write(&ca, &made)?;
        let mut said = format!(
            "{}: the CA of {}, until {}; every peer needs it\n\
             {}: its key, which makes any peer; keep it off the peers\n",
            ca.certificate.display(),
            self.trust_domain,
            made.until,
            ca.key.display(),
        );
        if let Some((peer, _)) = first {
            let issue = Issue {
                place: self.place,
                peer: peer.clone(),
                name: self.name,
                days: CERTIFICATE_DAYS,
            };
            said += &issue.run()?;
        } else {
            let dir = in_dir(&self.place.dir);
            let _ = writeln!(
                said,
                "\nnext, for each peer:\n  ops-proxy pki issue{dir} --peer ID --name NAME"
            );
        }
        Ok(said)
    }
}

impl Issue {
    fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.place.dir, self.place.force);
        let own = files.of_peer(&self.peer)?;
        let authority = Authority::load(&files.of_ca())?;
        let request = PeerRequest { peer: &self.peer, names: &self.name, days: self.days };
        let made = authority.issue(&request)?;
        files.write(&own, &made)?;
        Ok(self.next_steps(&files, &made))
    }

    /// What was written, and what to type where.
    fn next_steps(&self, files: &PkiFiles, made: &Issued) -> String {
        let (own, ca) = (files.of_peer(&self.peer), files.of_ca());
        let own = own.expect("the files of this peer were written under these names");
        let tls = format!(
            "--tls-cert {} --tls-key {} --tls-ca {}",
            quoted(&own.certificate),
            quoted(&own.key),
            quoted(&ca.certificate),
        );
        let names: Vec<String> = self.name.iter().map(ToString::to_string).collect();
        let service = self.name.iter().find(|name| matches!(name, Subject::Name(_)));
        let service =
            service.map_or_else(|| "NAME".to_owned(), |name| quoted(Path::new(&name.to_string())));
        let Self { peer, .. } = self;
        format!(
            "{certificate} and {key}: {peer} at {names}, until {until}\n\
             \n\
             put these two and {ca} on the machine of {peer}; there, to be dialled by others\n  \
             ops-proxy run --peer-id {peer} --listen 0.0.0.0:8443 {tls}\n\
             or to dial a listening peer (HUB is a name in that one's certificate)\n  \
             ops-proxy run --peer-id {peer} --connect HUB:8443 --service {service}=127.0.0.1:8080 {tls}\n",
            certificate = own.certificate.display(),
            key = own.key.display(),
            names = names.join(", "),
            until = made.until,
            ca = ca.certificate.display(),
        )
    }
}

impl Revoke {
    fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, true);
        let authority = Authority::load(&files.of_ca())?;
        let path = files.of_list();
        let mut revocations = match path.symlink_metadata() {
            Ok(_) => Revocations::load(&path, &authority)?,
            Err(_) => Revocations::none(),
        };
        if let Some(peer) = &self.peer {
            revocations.add(peer, &files.of_peer(peer)?.certificate, &authority)?;
        }
        let count = revocations.count();
        files.write_list(&revocations.signed(&authority)?)?;
        Ok(format!(
            "{}: certificates revoked: {count}\n\
             \n\
             put it on the machine of every peer, which needs --tls-crl {} from its start on;\n\
             a running peer then takes a new list by itself, for new connections\n",
            path.display(),
            quoted(&path),
        ))
    }
}

/// The `--dir` that has to be typed.
fn in_dir(dir: &Path) -> String {
    if dir == Path::new("pki") { String::new() } else { format!(" --dir {}", quoted(dir)) }
}

/// As it can be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:[]".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A peer id whose files would be another's.
fn reserved(peer: &PeerId) -> Result<(), ConfigError> {
    if ["ca", "crl"].contains(&peer.as_str()) || peer.as_str().ends_with("-key") {
        let problem = format!("{peer}.pem is the name of another file: choose another id");
        return Err(ConfigError::new("peer", problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
