//! The configuration file: `peer/src/cli/settings.rs` and `peer/src/config.rs`.

use ops_proxy::cli::settings::{ProxyVariables, Settings, Surroundings};
use ops_proxy::config::ConfigError;

/// `data` is the file. An error names the key at fault, and what is read can be
/// made into a configuration, or again an error names the key.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let settings = match Settings::from_toml(text) {
        Ok(settings) => settings,
        Err(error) => return assert_key_of_file(text, &error),
    };
    let nothing = Settings::default();
    assert_eq!(settings.clone().or(nothing.clone()), settings);
    assert_eq!(nothing.or(settings.clone()), settings);
    assert_eq!(settings.clone().or(settings.clone()), settings);
    match settings.into_config(surroundings(text)) {
        Ok(config) => assert_eq!(config.check(), Ok(())),
        Err(error) => assert_known_key(&error),
    }
}

/// A text that is TOML has a key that is at fault; one that is not may have none.
fn assert_key_of_file(text: &str, error: &ConfigError) {
    assert!(!error.problem.is_empty());
    if let Ok(table) = text.parse::<toml::Table>() {
        assert!(table.contains_key(&error.key), "{error} is the fault of no key");
    }
}

/// The error names a setting: one that may stand in the file.
fn assert_known_key(error: &ConfigError) {
    assert!(!error.problem.is_empty());
    let probe = Settings::from_toml(&format!("{} = {{}}", error.key));
    let problem = probe.expect_err("no setting is a table").problem;
    assert!(!problem.contains("unknown key"), "{error} names no setting");
}

/// A machine with as odd a host name as the file has.
fn surroundings(text: &str) -> Surroundings {
    let host: String = text.chars().rev().take(80).collect();
    let proxies = ProxyVariables::default();
    Surroundings {
        host,
        node: None,
        pod: Some(String::new()),
        token: None,
        proxies,
        random: [0xf; 4],
        predecessor: None,
    }
}
