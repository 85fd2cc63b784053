//! `ops-proxy pki revoke`: puts certificates on the revocation list.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::arguments::{in_dir, quoted};
use super::authority::Authority;
use super::files::PkiFiles;
use super::index::{Index, Record};
use super::revocation::Revocations;
use super::serial::Serial;
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::names::PeerId;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Revoke {
    /// The directory of the CA
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,

    /// Revoke every unexpired certificate of this peer
    #[arg(long, value_name = "ID", conflicts_with = "serial")]
    peer: Option<PeerId>,

    /// Revoke the certificate with this serial number, as `pki list` shows it
    #[arg(long, value_name = "HEX")]
    serial: Option<Serial>,
}

impl Revoke {
    pub(super) fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, true);
        let authority = Authority::load(&files.of_ca())?;
        let _lock = files.lock()?;
        let index = Index::load(&files, &authority)?;
        let mut revocations = Revocations::load(&files, &authority)?;
        let mut said = String::new();
        for Record { serial, peer, not_after, .. } in self.chosen(&index)? {
            revocations.add(serial);
            let _ = writeln!(said, "revoked: {serial} of {peer}, valid until {}", not_after.day());
        }
        let count = revocations.count();
        files.write_list(&revocations.signed(&authority)?)?;
        let path = files.of_list();
        let _ = write!(
            said,
            "{}: {count} revoked in total\n\
             \n\
             copy the list to every peer and start each with --tls-crl {};\n\
             a running peer that was started with it picks up the new list by itself\n",
            path.display(),
            quoted(&path),
        );
        Ok(said)
    }

    /// The certificates to be revoked.
    fn chosen<'i>(&self, index: &'i Index) -> Result<Vec<&'i Record>, ConfigError> {
        let see_list = format!("`ops-proxy pki list{}` shows what it issued", in_dir(&self.dir));
        if let Some(serial) = &self.serial {
            let record = index.find(serial).ok_or_else(|| {
                let problem = format!("this CA has issued no certificate {serial}; {see_list}");
                ConfigError::new("serial", problem)
            })?;
            return Ok(vec![record]);
        }
        let Some(peer) = &self.peer else { return Ok(Vec::new()) };
        if index.of_peer(peer).next().is_none() {
            let problem = format!("this CA has issued no certificate to {peer}; {see_list}");
            return Err(ConfigError::new("peer", problem));
        }
        let now = TokioNet.unix_time();
        let unexpired: Vec<_> =
            index.of_peer(peer).filter(|record| !record.is_expired(now)).collect();
        if unexpired.is_empty() {
            let problem = format!("every certificate of {peer} has expired; {see_list}");
            return Err(ConfigError::new("peer", problem));
        }
        Ok(unexpired)
    }
}
