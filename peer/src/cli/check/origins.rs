//! Where each setting comes from: a flag, an environment variable, a file, or its default.

use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use toml::{Table, Value};

use crate::cli::settings::Settings;
use crate::cli::sources::Texts;
use crate::cli::table::{Column, table};
use crate::config::PeerConfig;

/// What stands for a setting that is unset and has no default.
const UNSET: &str = "-";

/// One setting, as it counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    key: String,
    /// Its value; of one that may hold a secret, what may be seen.
    value: String,
    origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// The command line: this flag.
    Flag(String),
    /// This variable of the environment.
    Variable(String),
    /// These files; several, where a list stands in several.
    Files(Vec<PathBuf>),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::Files(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&paths.join(", "))
            }
            Self::Default => f.write_str("default"),
        }
    }
}

/// Every setting, in the order of the flags; `config` is what they have led to.
pub(super) fn origins(matches: &ArgMatches, texts: &Texts, config: &PeerConfig) -> Vec<Setting> {
    let files: Vec<(&PathBuf, Table)> = texts
        .iter()
        // They were read as settings before.
        .filter_map(|(path, text)| Some((path, text.parse().ok()?)))
        .collect();
    let command = Settings::augment_args(Command::new(""));
    let settings = command.get_arguments().map(|arg| {
        let (value, origin) = set(arg, matches, &files);
        let key = arg.get_id().to_string();
        match key.as_str() {
            // It may hold a password, and the environment of all programs may set it.
            "via" => via(origin, config),
            "peer_id" if origin == Origin::Default => {
                Setting { key, value: config.peer_id.to_string(), origin }
            }
            _ => Setting { key, value, origin },
        }
    });
    let mut settings: Vec<Setting> = settings.collect();
    if let Some(crate::config::TokenSource::Given(_)) = config.tls.token {
        let origin = Origin::Variable("OPS_PROXY_TOKEN".to_owned());
        settings.push(Setting { key: "token".to_owned(), value: "(not shown)".to_owned(), origin });
    }
    settings
}

/// The value of one setting as it was written, and where.
fn set(arg: &Arg, matches: &ArgMatches, files: &[(&PathBuf, Table)]) -> (String, Origin) {
    let key = arg.get_id().as_str();
    let raw = || {
        let values = matches.get_raw(key).into_iter().flatten();
        values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(", ")
    };
    match matches.value_source(key) {
        Some(ValueSource::CommandLine) => {
            return (raw(), Origin::Flag(format!("--{}", arg.get_long().unwrap_or(key))));
        }
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            return (raw(), Origin::Variable(name.unwrap_or_default()));
        }
        _ => {}
    }
    let set = files.iter().filter_map(|(path, table)| Some((*path, table.get(key)?)));
    let (paths, values): (Vec<PathBuf>, Vec<String>) =
        set.map(|(path, value)| (path.clone(), written(value))).unzip();
    match paths.is_empty() {
        true => (default(arg), Origin::Default),
        false => (values.join(", "), Origin::Files(paths)),
    }
}

fn via(origin: Origin, config: &PeerConfig) -> Setting {
    let (value, origin) = match (config.proxies.any(), origin) {
        // What the setting does not say, other variables may.
        (Some(via), Origin::Default) => (via.to_string(), Origin::Variable(via.set_by.to_owned())),
        (Some(via), origin) => (via.to_string(), origin),
        (None, origin) => ("none".to_owned(), origin),
    };
    Setting { key: "via".to_owned(), value, origin }
}

/// A value of a file on one line. Of a table, its name alone: the rest is told elsewhere.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(written).collect::<Vec<_>>().join(", "),
        Value::Table(table) => match table.get("name") {
            Some(Value::String(name)) => format!("[[{name}]]"),
            _ => value.to_string(),
        },
        _ => value.to_string(),
    }
}

/// The default, as the help gives it.
fn default(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help.split_once("[default: ").and_then(|(_, default)| default.strip_suffix(']'));
    default.unwrap_or(UNSET).to_owned()
}

/// All of them, for a terminal.
pub(super) fn shown(settings: &[Setting]) -> String {
    let columns = ["SETTING", "VALUE", "FROM"].map(Column::Text);
    let rows = settings.iter().map(|Setting { key, value, origin }| {
        let value = if value.is_empty() { "(empty)" } else { value };
        vec![key.clone(), value.to_owned(), origin.to_string()]
    });
    table(&columns, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "s3cr3t";

    fn found(line: &str, files: &[(&str, &str)], key: &str) -> (String, String) {
        // The environment of the tests is not theirs.
        let command = Settings::augment_args(Command::new("test")).mut_args(|arg| arg.env(None));
        let words = std::iter::once("test").chain(line.split_whitespace());
        let matches = command.get_matches_from(words);
        let texts: Texts =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let mut config = PeerConfig::new("site".parse().unwrap());
        let via = format!("http://u:{PASSWORD}@proxy:1");
        let via = crate::config::Via::parse(&via, "HTTPS_PROXY").unwrap();
        config.proxies = crate::config::Proxies::chosen(Some(via), Default::default());
        let settings = origins(&matches, &texts, &config);
        let table = shown(&settings);
        assert!(!table.contains(PASSWORD), "{table}");
        let found = settings.into_iter().find(|setting| setting.key == key).unwrap();
        (found.value, found.origin.to_string())
    }

    fn pair(value: &str, origin: &str) -> (String, String) {
        (value.to_owned(), origin.to_owned())
    }

    #[test]
    fn a_flag_comes_before_the_files_and_a_default_is_said_to_be_one() {
        let file = [("a.toml", "heartbeat = '5s'\nlisten = '127.0.0.1:1'")];
        let flag = found("--heartbeat 7s", &file, "heartbeat");
        assert_eq!(flag, pair("7s", "--heartbeat"));
        assert_eq!(found("", &file, "heartbeat"), pair("5s", "a.toml"));
        assert_eq!(found("", &[], "heartbeat"), pair("10s", "default"));
        assert_eq!(found("", &[], "state_dir"), pair(UNSET, "default"));
        assert_eq!(found("", &[], "peer_id"), pair("site", "default"));
        let bool = found("--redirect-https", &[], "redirect_https");
        assert_eq!(bool, pair("true", "--redirect-https"));
    }

    #[test]
    fn a_list_of_several_files_names_them_all_and_a_list_of_flags_none() {
        let files = [
            ("a.toml", "connect = ['hub:1']\nmax_connections = 5"),
            ("b.toml", "connect = ['hub:2']\n[[service]]\nname = 'app'\nbackend = 'h:1'"),
        ];
        assert_eq!(found("", &files, "connect"), pair("hub:1, hub:2", "a.toml, b.toml"));
        assert_eq!(found("--connect hub:3,hub:4", &files, "connect").0, "hub:3, hub:4");
        assert_eq!(found("", &files, "service"), pair("[[app]]", "b.toml"));
        assert_eq!(found("", &files, "max_connections"), pair("5", "a.toml"));
    }

    #[test]
    fn a_proxy_is_shown_without_its_login_wherever_it_was_set() {
        let flag = format!("--via http://u:{PASSWORD}@proxy:1");
        let file = format!("via = 'http://u:{PASSWORD}@proxy:1'");
        let shown = "http://proxy:1";
        assert_eq!(found(&flag, &[], "via"), pair(shown, "--via"));
        assert_eq!(found("", &[("a.toml", &file)], "via"), pair(shown, "a.toml"));
        assert_eq!(found("", &[], "via"), pair(shown, "HTTPS_PROXY"));
    }
}
