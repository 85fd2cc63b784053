//! The files of a configuration, read together as one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::flags::Settings;
use crate::config::ConfigError;
use crate::names::Name;

/// What the files say together, each with its path. Lists are joined in the order of the
/// files; anything else may be said once.
///
/// # Errors
/// The first key at fault and the file; where two files say the same, both.
pub fn from_files(texts: &[(PathBuf, String)]) -> Result<Settings, ConfigError> {
    let mut joined = Table::new();
    let mut keys: BTreeMap<String, &Path> = BTreeMap::new();
    let mut names: BTreeMap<Name, &Path> = BTreeMap::new();
    for (path, text) in texts {
        let own = Settings::from_toml(text).map_err(|error| {
            ConfigError::new(error.key, format!("{}: {}", path.display(), error.problem))
        })?;
        for name in own.service.iter().filter_map(|entry| entry.name()) {
            match names.get(name) {
                Some(before) if *before != path => {
                    return Err(twice("service", &format!("{name} is defined"), before, path));
                }
                _ => drop(names.insert(name.clone(), path)),
            }
        }
        let table: Table = text.parse().expect("it was read just now");
        for (key, value) in table {
            match (joined.get_mut(&key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (Some(_), _) => return Err(twice(&key, "it is set", keys[&key], path)),
                (None, value) => {
                    keys.insert(key.clone(), path);
                    joined.insert(key, value);
                }
            }
        }
    }
    match texts {
        // With the line of each fault.
        [(_, text)] => Settings::from_toml(text),
        _ => Settings::from_toml(&joined.to_string()),
    }
}

fn twice(key: &str, what: &str, before: &Path, after: &Path) -> ConfigError {
    let (before, after) = (before.display(), after.display());
    ConfigError::new(key, format!("{what} in both {before} and {after}; remove one of the two"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let texts = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
        from_files(&texts.collect::<Vec<_>>())
    }

    #[test]
    fn files_are_read_as_one() {
        let several = read(&[
            ("a.toml", "peer_id = 'p'\nservice = ['a=h:1', 'a/https=h:2']\nconnect = ['hub:1']"),
            ("b.toml", "connect = ['other:1']\n[[service]]\nname = 'b'\nbackend = 'h:3'"),
            ("c.toml", "# nothing"),
        ]);
        let one = "peer_id = 'p'\nconnect = ['hub:1', 'other:1']\n\
                   service = ['a=h:1', 'a/https=h:2', { name = 'b', backend = 'h:3' }]";
        assert_eq!(several.unwrap(), Settings::from_toml(one).unwrap());
        assert_eq!(read(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn what_two_files_say_names_both() {
        for (first, second, key, problem) in [
            ("peer_id = 'a'", "peer_id = 'b'", "peer_id", "it is set in both a.toml and b.toml"),
            (
                "service = ['x=h:1']",
                "service = ['y=h:1', 'x=h:2']",
                "service",
                "x is defined in both",
            ),
            ("", "heartbeat = 'soon'", "heartbeat", "b.toml: "),
        ] {
            let error = read(&[("a.toml", first), ("b.toml", second)]).unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.problem.contains(problem), "{}", error.problem);
        }
    }
}
