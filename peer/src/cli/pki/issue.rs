//! `ops-proxy pki issue`: the certificate of one peer, the first or a later one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::arguments::{days, in_dir, quoted};
use super::authority::{Authority, PeerRequest};
use super::files::PkiFiles;
use super::index::{Index, Record};
use super::issued::Issued;
use super::subject::Subject;
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::limits::CERTIFICATE_DAYS;
use crate::names::{NamePattern, PeerId};
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Issue {
    /// The directory of the CA
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub(super) dir: PathBuf,

    /// The id of the peer: its --peer-id
    #[arg(long, value_name = "ID")]
    pub(super) peer: PeerId,

    /// A host name, wildcard or IP address that the peer may register or is reached at; repeat for more
    ///
    /// Required for the first certificate of a peer. A renewal without it keeps the names of the newest certificate.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Vec<Subject>,

    /// A name, wildcard or `*` for all, that the peer may reach through listening peers: its --reach; repeat for more
    ///
    /// A renewal keeps what the newest certificate says, unless it is given --name or --reach.
    #[arg(long, value_name = "PATTERN")]
    pub(super) reach: Vec<NamePattern>,

    /// Days until the certificate expires
    #[arg(long, value_name = "N", default_value_t = CERTIFICATE_DAYS, value_parser = days())]
    pub(super) days: u64,

    /// Renew: replace the certificate and key that exist
    #[arg(long)]
    pub(super) force: bool,
}

impl Issue {
    pub(super) fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, self.force);
        let own = files.of_peer(&self.peer)?;
        let authority = Authority::load(&files.of_ca())?;
        let _lock = files.lock()?;
        files.check_free(&own)?;
        let mut index = Index::load(&files, &authority)?;
        let before = index.newest_of(&self.peer).cloned();
        let names = self.names(before.as_ref())?;
        let reach = self.reach(before.as_ref());
        let request =
            PeerRequest { peer: &self.peer, names: &names, reach: &reach, days: self.days };
        let made = authority.issue(&request)?;
        index.add(Record::of_pem(&made.certificate).expect("a peer's certificate, just made"));
        // A record too many does no harm; a certificate without one could not be revoked.
        files.write_index(&index.to_toml())?;
        files.write(&own, &made)?;
        Ok(match before {
            None => self.first_steps(&files, &made, &request),
            Some(before) => self.renewed(&files, &made, &request, &before),
        })
    }

    /// The names given, or else those of the previous certificate.
    fn names(&self, before: Option<&Record>) -> Result<Vec<Subject>, ConfigError> {
        let Self { peer, .. } = self;
        if !self.name.is_empty() {
            return Ok(self.name.clone());
        }
        let Some(before) = before else {
            if !self.reach.is_empty() {
                return Ok(Vec::new());
            }
            let problem =
                format!("the first certificate of {peer} needs at least one name; add --name NAME");
            return Err(ConfigError::new("name", problem));
        };
        let parsed = before.names.iter().map(|name| {
            name.parse().map_err(|error| {
                let problem = format!(
                    "the newest certificate of {peer} has the name {name}, but {error}; \
                     give all names of {peer} with --name"
                );
                ConfigError::new("name", problem)
            })
        });
        parsed.collect()
    }

    /// What was given, or else what the previous certificate says, if nothing is new.
    fn reach(&self, before: Option<&Record>) -> Vec<NamePattern> {
        match before {
            Some(before) if self.name.is_empty() && self.reach.is_empty() => before.reach.clone(),
            _ => self.reach.clone(),
        }
    }

    /// What was written, and what to type where.
    fn first_steps(&self, files: &PkiFiles, made: &Issued, request: &PeerRequest<'_>) -> String {
        let (own, ca) = (files.of_peer(&self.peer), files.of_ca());
        let own = own.expect("the files of this peer were written under these names");
        let tls = format!(
            "--tls-cert {} --tls-key {} --tls-ca {}",
            quoted(&own.certificate),
            quoted(&own.key),
            quoted(&ca.certificate),
        );
        let service = request.names.iter().find(|name| matches!(name, Subject::Name(_)));
        let service =
            service.map_or_else(|| "NAME".to_owned(), |name| quoted(Path::new(&name.to_string())));
        let Self { peer, .. } = self;
        format!(
            "{written}\
             copy both files and {ca} to the machine of {peer}; there, to listen for other peers\n  \
             ops-proxy run --peer-id {peer} --listen 0.0.0.0:8443 {tls}\n\
             or to connect to a listening peer (HUB is a name in its certificate)\n  \
             ops-proxy run --peer-id {peer} --connect HUB:8443 --service {service}=127.0.0.1:8080 {tls}\n",
            written = self.written(files, made, request),
            ca = ca.certificate.display(),
        )
    }

    /// What was written, and how to revoke the previous certificate, which is still valid.
    fn renewed(
        &self,
        files: &PkiFiles,
        made: &Issued,
        request: &PeerRequest<'_>,
        before: &Record,
    ) -> String {
        let mut said = self.written(files, made, request);
        let _ = writeln!(
            said,
            "copy both files to the machine of {}; a running peer picks them up by itself",
            self.peer
        );
        if !before.is_expired(TokioNet.unix_time()) {
            let _ = write!(
                said,
                "the previous certificate stays valid until {until}; if its key may have been stolen, revoke it:\n  \
                 ops-proxy pki revoke{dir} --serial {serial}\n",
                until = before.not_after.day(),
                dir = in_dir(&self.dir),
                serial = before.serial,
            );
        }
        said
    }

    fn written(&self, files: &PkiFiles, made: &Issued, request: &PeerRequest<'_>) -> String {
        let own = files.of_peer(&self.peer);
        let own = own.expect("the files of this peer were written under these names");
        let names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
        let reach: Vec<String> = request.reach.iter().map(ToString::to_string).collect();
        let covers = match (names.is_empty(), reach.is_empty()) {
            (false, true) => format!("with {}", names.join(", ")),
            (true, _) => format!("with no name, may reach {}", reach.join(", ")),
            (false, false) => format!("with {}, may reach {}", names.join(", "), reach.join(", ")),
        };
        format!(
            "{} and {}: {} {covers}, valid until {}\n\n",
            own.certificate.display(),
            own.key.display(),
            self.peer,
            made.until,
        )
    }
}
