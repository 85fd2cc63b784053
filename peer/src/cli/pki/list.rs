//! `ops-proxy pki list`: what the CA issued, and what became of it.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::in_dir;
use super::authority::Authority;
use super::files::PkiFiles;
use super::index::{Index, Record};
use super::revocation::Revocations;
use crate::cli::failure::Failure;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

const HEADINGS: [&str; 6] = ["SERIAL", "PEER", "NAMES", "ISSUED", "UNTIL", "STATE"];

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    /// The directory of the CA
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,
}

impl List {
    pub(super) fn run(self) -> Result<String, Failure> {
        let files = PkiFiles::new(&self.dir, false);
        let authority = Authority::load(&files.of_ca())?;
        let index = Index::load(&files, &authority)?;
        let revocations = Revocations::load(&files, &authority)?;
        if index.records().is_empty() {
            let dir = in_dir(&self.dir);
            return Ok(format!(
                "no certificates yet; `ops-proxy pki issue{dir} --peer ID --name NAME` issues one\n"
            ));
        }
        let now = TokioNet.unix_time();
        let rows = index.records().iter().map(|record| row(record, &revocations, now));
        Ok(table(&rows.collect::<Vec<_>>()))
    }
}

fn row(record: &Record, revocations: &Revocations, now: Duration) -> [String; 6] {
    let state = match () {
        () if revocations.contains(&record.serial) => "revoked",
        () if record.is_expired(now) => "expired",
        () => "valid",
    };
    [
        record.serial.to_string(),
        record.peer.to_string(),
        record.names.join(","),
        record.not_before.day(),
        record.not_after.day(),
        state.to_owned(),
    ]
}

/// Columns with two spaces between them, under their headings. No cell holds a space.
fn table(rows: &[[String; 6]]) -> String {
    let mut lines = vec![HEADINGS];
    lines.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
