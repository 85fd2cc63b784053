//! Settings out of a TOML file, with an error that says where.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::flags::Settings;
use crate::config::ConfigError;

/// Key names at least this alike are suggested for an unknown one.
const SUGGEST_FROM: f64 = 0.75;

impl Settings {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// The key at fault with its line, and for an unknown key the nearest known
    /// one. A text that is no TOML at all is the fault of the key `config`.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let line = |offset: usize| text[..offset].matches('\n').count() + 1;
        let at_line = |span: Option<std::ops::Range<usize>>| match span {
            Some(span) => format!(" (line {})", line(span.start)),
            None => String::new(),
        };
        let table = DeTable::parse(text).map_err(|error| {
            let problem = format!("{}{}", error.message(), at_line(error.span()));
            ConfigError::new("config", problem)
        })?;
        let known = keys();
        let unknown = table
            .get_ref()
            .keys()
            .filter(|key| !known.iter().any(|known| known == key.get_ref()))
            .min_by_key(|key| key.span().start);
        if let Some(key) = unknown {
            let name = key.get_ref().as_ref();
            let line = line(key.span().start);
            let problem = format!("unknown key (line {line}){}", nearest(name, &known));
            return Err(ConfigError::new(name, problem));
        }
        Self::deserialize(toml::Deserializer::from(table.clone())).map_err(|error| {
            // Spans do not tell whose error it is: that of a table is its header.
            let fails_alone = |(key, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                let alone = DeTable::from_iter([((*key).clone(), (*value).clone())]);
                let alone = Spanned::new(table.span(), alone);
                Self::deserialize(toml::Deserializer::from(alone)).is_err()
            };
            let entry = table.get_ref().iter().find(fails_alone);
            let key = entry.map_or("config", |(key, _)| key.get_ref());
            ConfigError::new(key, format!("{}{}", error.message(), at_line(error.span())))
        })
    }
}

/// The keys of the file: as the flags, so that neither list can fall behind.
pub(super) fn keys() -> Vec<String> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new(""));
    command.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// What is to be said of variables that begin with `OPS_PROXY_` and are read by nobody.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known = vec!["OPS_PROXY_CONFIG".to_owned(), "OPS_PROXY_TOKEN".to_owned()];
    // Between two processes of the program.
    let names = names.filter(|name| name != "OPS_PROXY_TAKES_OVER");
    known.extend(keys().iter().map(|key| format!("OPS_PROXY_{}", key.to_uppercase())));
    let unknown = names.filter(|name| name.starts_with("OPS_PROXY_") && !known.contains(name));
    let mut said: Vec<String> =
        unknown.map(|name| format!("{name} is no setting{}", nearest(&name, &known))).collect();
    said.sort();
    said
}

fn nearest(unknown: &str, known: &[String]) -> String {
    let likeness = |key: &&String| strsim::jaro_winkler(unknown, key);
    known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|key| likeness(key) >= SUGGEST_FROM)
        .map_or_else(String::new, |key| format!("; did you mean {key}?"))
}
