//! The names that a peer knows, kept in a file across restarts (`--state-dir`).
//!
//! The file is text, a name on each line behind `up` or `down`. It only makes a start
//! smoother: one that is missing or damaged is a start without it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::ConfigError;
use crate::limits::{STATE_FILE_BYTES, STATE_WRITE_INTERVAL, STATE_WRITE_PAUSE};
use crate::mesh::returning::KnownNames;
use crate::peer::PeerHandle;
use crate::stream::net::Net;

const HEAD: &str = "# The names that this peer knows. It writes this file itself.\n";

/// Where a peer keeps the names that it knows.
#[derive(Debug, Clone)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    /// The file in `directory`, which may not exist yet.
    ///
    /// # Errors
    /// The directory does not exist.
    pub(super) fn within(directory: &Path) -> Result<Self, ConfigError> {
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => Ok(Self(directory.join("names"))),
            Ok(_) => Err(fault(directory, "is not a directory")),
            Err(error) => {
                Err(fault(directory, format!("{error}; create it, writable by this peer")))
            }
        }
    }

    /// What the file says; nothing if it cannot be used, which is logged.
    pub(super) fn read(&self) -> KnownNames {
        let Self(path) = self;
        match fs::metadata(path).and_then(|found| match found.len() {
            0..=STATE_FILE_BYTES => fs::read_to_string(path),
            _ => Err(io::Error::other("it is too large")),
        }) {
            Ok(text) => parsed(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(file = %path.display(), %error, "cannot read the names from before the restart; starting without them");
                }
                KnownNames::default()
            }
        }
    }

    /// Replaces what the file says.
    ///
    /// # Errors
    /// What the system said; the file is then as it was.
    pub(super) fn write(&self, known: &KnownNames) -> io::Result<()> {
        let Self(path) = self;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(written(known).as_bytes())?;
        // What is renamed must be there after a power failure, too.
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Keeps the file up to date with what a peer knows. Cancel safe: what was written last
    /// is whole.
    pub(super) async fn follow<N: Net>(&self, handle: &PeerHandle<N>) {
        let mut changes = handle.name_changes();
        let (mut last, mut fails) = (KnownNames::default(), false);
        loop {
            changes.mark_unchanged();
            let known = handle.known_names();
            if known != last || fails {
                let (began, file, names) = (Instant::now(), self.clone(), known.clone());
                let said = spawn_blocking(move || file.write(&names)).await;
                let said = said.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
                if let Err(error) = &said
                    && !fails
                {
                    self.complain(error);
                }
                (last, fails) = (known, said.is_err());
                // Many names take long to write, and may change all the time.
                sleep(STATE_WRITE_PAUSE * began.elapsed()).await;
            }
            sleep(STATE_WRITE_INTERVAL).await;
            if !fails && changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The last look before the peer ends.
    pub(super) fn leave<N: Net>(&self, handle: &PeerHandle<N>) {
        if let Err(error) = self.write(&handle.known_names()) {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &io::Error) {
        let file = self.0.display();
        tracing::warn!(%file, %error, "cannot keep the names for the next start; make the directory writable, or the next start will answer 404 for them until they are registered again");
    }
}

fn fault(directory: &Path, problem: impl std::fmt::Display) -> ConfigError {
    ConfigError::new("state_dir", format!("{}: {problem}", directory.display()))
}

/// What the file says of `known`.
pub(super) fn written(known: &KnownNames) -> String {
    let mut text = HEAD.to_owned();
    for (word, names) in [("up", &known.up), ("down", &known.down)] {
        for name in names {
            text.extend([word, " ", name.as_str(), "\n"]);
        }
    }
    text
}

/// Lines that make no sense are passed over.
/// What a file says.
pub(super) fn parsed(text: &str) -> KnownNames {
    let mut known = KnownNames::default();
    for (word, name) in text.lines().filter_map(|line| line.split_once(' ')) {
        let list = match word {
            "up" => &mut known.up,
            "down" => &mut known.down,
            _ => continue,
        };
        list.extend(name.parse().ok());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownNames {
        let names = |list: &[&str]| list.iter().map(|name| name.parse().unwrap()).collect();
        KnownNames { up: names(&["*.a.example", "b.example"]), down: names(&["c.example"]) }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parsed(&written(&known())), known());
        assert_eq!(parsed(&written(&KnownNames::default())), KnownNames::default());
    }

    #[test]
    fn a_damaged_file_is_read_as_far_as_it_makes_sense() {
        let text = "up b.example\nup\nup not/a/name\nsideways b.example\n\0\u{fffd} \ndown c.exam";
        let read = parsed(text);
        assert_eq!(read.up, vec!["b.example".parse().unwrap()]);
        assert_eq!(read.down, vec!["c.exam".parse().unwrap()]);
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::within(directory.path()).unwrap();
        assert_eq!(file.read(), KnownNames::default());
        file.write(&known()).unwrap();
        assert_eq!(file.read(), known());
        file.write(&KnownNames::default()).unwrap();
        assert_eq!(file.read(), KnownNames::default());
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "nothing else is left behind");
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = StateFile::within(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
