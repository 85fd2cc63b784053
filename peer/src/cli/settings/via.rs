//! The proxy of links, from `--via` or from what the environment says to all programs.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::config::{BadVia, ConfigError, NoProxy, Proxies, Via};

/// The URL of a proxy, or `none`, as it was written. It is read later: an error of its
/// reader would show it, and it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ViaText(String);

/// What the environment says about proxies, to whoever it may concern.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// The name and the value of the first that is set.
    proxy: Option<(&'static str, String)>,
    no_proxy: String,
}

impl ProxyVariables {
    /// Reads the environment. A variable that is empty counts as unset; the name in lower
    /// case comes first, as with curl.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &'static str| {
            let value = variable(name).filter(|value| !value.trim().is_empty());
            value.map(|value| (name, value))
        };
        let mut proxies = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter();
        let no_proxy = set("no_proxy").or_else(|| set("NO_PROXY"));
        Self {
            proxy: proxies.find_map(set),
            no_proxy: no_proxy.map(|(_, value)| value).unwrap_or_default(),
        }
    }
}

/// The proxy for a peer that connects to others: that of the setting, or else that of the
/// environment.
///
/// # Errors
/// The setting or the variable that holds no proxy.
pub(super) fn proxies(
    setting: Option<ViaText>,
    variables: &ProxyVariables,
    is_connecting: bool,
) -> Result<Proxies, ConfigError> {
    let except = NoProxy::parse(&variables.no_proxy);
    let none = || Proxies::chosen(None, NoProxy::default());
    match (setting, &variables.proxy) {
        (Some(ViaText(text)), _) if text == "none" => Ok(none()),
        (Some(_), _) if !is_connecting => {
            let problem = "only connections to listening peers leave through it: set connect";
            Err(ConfigError::new("via", problem))
        }
        (Some(ViaText(text)), _) => {
            let via = Via::parse(&text, "--via").map_err(in_setting)?;
            Ok(Proxies::chosen(Some(via), except))
        }
        (None, Some((name, value))) if is_connecting => {
            let via = Via::parse(value, name).map_err(|error| in_variable(name, error))?;
            Ok(Proxies::inherited(via, except))
        }
        (None, _) => Ok(none()),
    }
}

fn in_setting(error: BadVia) -> ConfigError {
    ConfigError::new("via", format!("{error}; or none, for no proxy"))
}

fn in_variable(name: &str, error: BadVia) -> ConfigError {
    ConfigError::new(name, format!("{error}; or set via to another proxy or to none"))
}

impl FromStr for ViaText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ViaText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViaText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is dialled through which proxy, by whom it was set.
    fn set(setting: Option<&str>, environment: &[(&str, &str)], upstream: &str) -> String {
        match chosen(setting, environment, true) {
            Ok(proxies) => match proxies.to(&upstream.parse().unwrap()) {
                Some(via) => format!("{via} by {}", via.set_by),
                None => "directly".to_owned(),
            },
            Err(error) => error.to_string(),
        }
    }

    fn chosen(
        setting: Option<&str>,
        environment: &[(&str, &str)],
        is_connecting: bool,
    ) -> Result<Proxies, ConfigError> {
        let variables = ProxyVariables::read(|name| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        proxies(setting.map(|text| text.parse().unwrap()), &variables, is_connecting)
    }

    const HUB: &str = "hub.example:8443";
    const ALL: [(&str, &str); 4] = [
        ("https_proxy", "http://a:1"),
        ("HTTPS_PROXY", "http://b:1"),
        ("all_proxy", "socks5://c:1"),
        ("ALL_PROXY", "socks5://d:1"),
    ];

    #[test]
    fn the_setting_comes_before_the_environment() {
        assert_eq!(set(Some("http://own:1"), &ALL, HUB), "http://own:1 by --via");
        assert_eq!(set(Some("none"), &ALL, HUB), "directly");
        assert_eq!(set(None, &[], HUB), "directly");
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        for (first, wanted) in [
            (0, "http://a:1 by https_proxy"),
            (1, "http://b:1 by HTTPS_PROXY"),
            (2, "socks5://c:1 by all_proxy"),
            (3, "socks5://d:1 by ALL_PROXY"),
            (4, "directly"),
        ] {
            assert_eq!(set(None, &ALL[first..], HUB), wanted);
        }
        let empty = [("https_proxy", ""), ("ALL_PROXY", "proxy:1")];
        assert_eq!(set(None, &empty, HUB), "http://proxy:1 by ALL_PROXY");
        assert_eq!(set(None, &[("HTTP_PROXY", "proxy:1")], HUB), "directly");
    }

    #[test]
    fn exceptions_are_those_of_the_environment() {
        for name in ["no_proxy", "NO_PROXY"] {
            let environment = [("HTTPS_PROXY", "proxy:1"), (name, "other.example,.example")];
            assert_eq!(set(None, &environment, HUB), "directly");
            assert_eq!(set(Some("http://own:1"), &environment, HUB), "directly");
            assert_eq!(set(None, &environment, "hub.org:1"), "http://proxy:1 by HTTPS_PROXY");
        }
    }

    #[test]
    fn what_is_no_proxy_is_the_fault_of_its_setting_and_not_repeated() {
        let wrong = "https://user:secret@proxy:1";
        let by_setting = set(Some(wrong), &[], HUB);
        assert!(by_setting.starts_with("via: only http://"), "{by_setting}");
        let by_variable = set(None, &[("HTTPS_PROXY", wrong)], HUB);
        assert!(by_variable.starts_with("HTTPS_PROXY: only http://"), "{by_variable}");
        assert!(by_variable.contains("or set via"), "{by_variable}");
        assert!(!format!("{by_setting}{by_variable}").contains("secret"));
    }

    #[test]
    fn a_peer_that_only_listens_needs_no_proxy() {
        let error = chosen(Some("http://own:1"), &[], false).unwrap_err();
        assert!(error.key == "via" && error.problem.contains("set connect"), "{error}");
        assert_eq!(chosen(Some("none"), &[], false).unwrap().any(), None);
        let nonsense = [("HTTPS_PROXY", "nonsense://")];
        assert_eq!(chosen(None, &nonsense, false).unwrap().any(), None);
    }
}
