//! Where certificates and keys are, and how they get there: keys readable by
//! nobody else from their first byte on, nothing overwritten unasked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::authority::Issued;
use super::reserved;
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::names::PeerId;

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The directory of a CA.
pub(super) struct PkiFiles {
    dir: PathBuf,
    force: bool,
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Readers {
    All,
    Owner,
}

impl PkiFiles {
    pub(super) fn new(dir: &Path, force: bool) -> Self {
        Self { dir: dir.to_owned(), force }
    }

    pub(super) fn of_ca(&self) -> Pair {
        self.pair("ca")
    }

    /// # Errors
    /// The key `peer` for an id whose files would be another's.
    pub(super) fn of_peer(&self, peer: &PeerId) -> Result<Pair, ConfigError> {
        reserved(peer)?;
        Ok(self.pair(peer.as_str()))
    }

    /// The revocation list.
    pub(super) fn of_list(&self) -> PathBuf {
        self.dir.join("crl.pem")
    }

    /// Writes the revocation list; one that exists is replaced at once.
    pub(super) fn write_list(&self, contents: &str) -> Result<(), Failure> {
        let path = self.of_list();
        replace(&path, contents, Readers::All).map_err(|error| at(&path, &error))
    }

    fn pair(&self, stem: &str) -> Pair {
        Pair {
            certificate: self.dir.join(format!("{stem}.pem")),
            key: self.dir.join(format!("{stem}-key.pem")),
        }
    }

    /// Writes both files, or neither when one of them exists and is not to be
    /// replaced.
    pub(super) fn write(&self, pair: &Pair, issued: &Issued) -> Result<(), Failure> {
        create_dir(&self.dir).map_err(|error| at(&self.dir, &error))?;
        for path in [&pair.key, &pair.certificate] {
            // Also what is no file, such as a link to nowhere, is in the way.
            if !self.force && path.symlink_metadata().is_ok() {
                let problem = format!("{}: exists; --force replaces it", path.display());
                return Err(Failure::Pki(problem));
            }
        }
        self.put(&pair.key, &issued.key, Readers::Owner)?;
        self.put(&pair.certificate, &issued.certificate, Readers::All)
    }

    fn put(&self, path: &Path, contents: &str, readers: Readers) -> Result<(), Failure> {
        let written = match self.force {
            false => create(path, contents, readers),
            true => replace(path, contents, readers),
        };
        written.map_err(|error| at(path, &error))
    }
}

fn at(path: &Path, error: &io::Error) -> Failure {
    Failure::Pki(format!("{}: {error}", path.display()))
}

/// Writes a file that must not exist.
fn create(path: &Path, contents: &str, readers: Readers) -> io::Result<()> {
    let mut file = new_file(path, readers)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

/// A running peer that reads the file meanwhile sees the old or the new, whole.
fn replace(path: &Path, contents: &str, readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create(&new, contents, readers)?;
    fs::rename(&new, path)
}

#[cfg(unix)]
fn new_file(path: &Path, readers: Readers) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = match readers {
        Readers::All => 0o644,
        Readers::Owner => 0o600,
    };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Who may read a file is inherited from its directory here.
#[cfg(not(unix))]
fn new_file(path: &Path, _readers: Readers) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
