//! The files of a CA's directory, and how they are written: a key is readable by its
//! owner only from its first byte on, and nothing is overwritten unless forced.
//!
//! | file | what |
//! |---|---|
//! | `ca.pem`, `ca-key.pem` | the CA and its key |
//! | `ID.pem`, `ID-key.pem` | the newest certificate of the peer ID, and its key |
//! | `issued.toml` | every certificate that the CA issued ([`index`](super::index)) |
//! | `crl.pem` | the certificates that it revoked |
//! | `*.old` | the CA that was replaced last: its certificate, key, record and list |
//! | `.lock` | locked while a command changes the directory |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::issued::{Issued, Pair};
use crate::cli::failure::Failure;
use crate::config::ConfigError;
use crate::names::PeerId;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

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
    /// The key `peer` for an id whose files would be those of the CA or of another
    /// peer.
    pub(super) fn of_peer(&self, peer: &PeerId) -> Result<Pair, ConfigError> {
        reserved(peer)?;
        Ok(self.pair(peer.as_str()))
    }

    /// The revocation list.
    pub(super) fn of_list(&self) -> PathBuf {
        self.dir.join("crl.pem")
    }

    /// The record of the certificates issued.
    pub(super) fn of_index(&self) -> PathBuf {
        self.dir.join("issued.toml")
    }

    /// Makes the directory, and keeps other commands from changing it until the
    /// lock is dropped.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        create_dir(&self.dir).map_err(|error| at(&self.dir, &error))?;
        let path = self.dir.join(".lock");
        let lock = || {
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| at(&path, &error))
    }

    /// Writes the revocation list; a running peer sees the old one or the new one.
    pub(super) fn write_list(&self, contents: &str) -> Result<(), Failure> {
        let path = self.of_list();
        replace(&path, contents, Readers::All).map_err(|error| at(&path, &error))
    }

    /// The index, if there is one.
    pub(super) fn read_index(&self) -> Result<Option<String>, Failure> {
        let path = self.of_index();
        // Its size has no limit: it is the operator's own, and grows with each issue.
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, &error)),
        }
    }

    /// Writes the index.
    pub(super) fn write_index(&self, contents: &str) -> Result<(), Failure> {
        let path = self.of_index();
        replace(&path, contents, Readers::All).map_err(|error| at(&path, &error))
    }

    /// The contents of each file that is called as a peer's certificate is.
    pub(super) fn read_peer_certificates(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let entries = fs::read_dir(&self.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| at(&self.dir, &error))?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| is_peer_certificate(path) && path.is_file());
        paths.sort();
        let read = |path: PathBuf| TokioNet.read_file(&path).map_err(|error| at(&path, &error));
        paths.into_iter().map(read).collect()
    }

    /// Renames the files of the CA that is about to be replaced to `*.old`. Those of
    /// an earlier one are removed, so that all `*.old` belong to one CA.
    pub(super) fn set_aside_ca(&self) -> Result<(), Failure> {
        let ca = self.of_ca();
        let files = [ca.certificate, ca.key, self.of_index(), self.of_list()];
        if !files.iter().any(|path| exists(path)) {
            return Ok(());
        }
        for path in &files {
            let old = with_suffix(path, ".old");
            let moved = match exists(path) {
                true => fs::rename(path, &old),
                false => remove(&old),
            };
            moved.map_err(|error| at(&old, &error))?;
        }
        Ok(())
    }

    fn pair(&self, stem: &str) -> Pair {
        Pair {
            certificate: self.dir.join(format!("{stem}.pem")),
            key: self.dir.join(format!("{stem}-key.pem")),
        }
    }

    /// # Errors
    /// One of the files exists and may not be replaced.
    pub(super) fn check_free(&self, pair: &Pair) -> Result<(), Failure> {
        for path in [&pair.key, &pair.certificate] {
            if !self.force && exists(path) {
                let problem = format!("{}: exists; --force replaces it", path.display());
                return Err(Failure::Pki(problem));
            }
        }
        Ok(())
    }

    /// Writes both files, or neither when one of them exists and may not be
    /// replaced. The directory is locked.
    pub(super) fn write(&self, pair: &Pair, issued: &Issued) -> Result<(), Failure> {
        self.check_free(pair)?;
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

/// Whoever reads the file meanwhile sees the old one or the new one, whole.
fn replace(path: &Path, contents: &str, readers: Readers) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    remove(&new)?;
    create(&new, contents, readers)?;
    fs::rename(&new, path)
}

/// Removes a file that may be missing.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Also what is not a file, such as a link to nowhere, is in the way.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether the file is called `ID.pem`, and is not a key or a file of the CA.
fn is_peer_certificate(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let peer = name.strip_suffix(".pem").map(PeerId::from_str);
    matches!(peer, Some(Ok(peer)) if reserved(&peer).is_ok())
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

/// Elsewhere a file inherits from its directory who may read it.
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

/// Refuses a peer id whose files would be those of the CA or of another peer.
pub(super) fn reserved(peer: &PeerId) -> Result<(), ConfigError> {
    if peer.instance().is_some() {
        let problem = "a certificate is for all instances of a peer; give the part before '/'";
        return Err(ConfigError::new("peer", problem));
    }
    if ["ca", "crl"].contains(&peer.as_str()) || peer.as_str().ends_with("-key") {
        let problem = format!("{peer}.pem is the name of another file; choose another id");
        return Err(ConfigError::new("peer", problem));
    }
    Ok(())
}
