//! A proxy that links and DATA connections leave through, as an operator writes it.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::endpoint::Endpoint;
use crate::limits::SOCKS_LOGIN_BYTES;
use crate::words::words;

words! {
    /// How a proxy is asked for a connection.
    ViaScheme {
        /// By CONNECT (RFC 9110 §9.3.6).
        Http = "http",
        /// By SOCKS version 5 (RFC 1928).
        Socks5 = "socks5",
        /// The same: the proxy resolves names in either case.
        Socks5h = "socks5h",
    }
}

impl ViaScheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

/// A proxy: `[SCHEME://][USER:PASSWORD@]HOST[:PORT][/]`. Shown, it has neither user nor
/// password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// How it is asked.
    pub scheme: ViaScheme,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Who we are to it.
    pub login: Option<Login>,
    /// Where this was set: a flag or an environment variable, for messages.
    pub set_by: &'static str,
}

/// A user of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password; may be empty.
    pub password: String,
}

/// The text names no proxy that can be used. It is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadVia {
    /// A scheme that is not supported.
    #[error(
        "only http://, socks5:// and socks5h:// proxies are supported; peers speak TLS end to end \
         through any of them"
    )]
    Scheme,
    /// No address.
    #[error(
        "expected http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST if the proxy wants a login"
    )]
    Address,
    /// A login that cannot be sent.
    #[error("the user or password is not valid UTF-8 after percent-decoding")]
    Encoding,
    /// RFC 7617 §2.
    #[error("the user must not contain a colon: HTTP has no way to send it")]
    Colon,
    /// RFC 1929 §2.
    #[error("SOCKS takes a user and a password of 1 to 255 bytes each")]
    Length,
}

impl Via {
    /// Reads the URL of a proxy. Without a scheme it is an HTTP proxy, as other programs
    /// take it; without a port, it is at 80 or, with SOCKS, at 1080. In user and password,
    /// `%` begins a byte in hex.
    ///
    /// # Errors
    /// [`BadVia`].
    pub fn parse(url: &str, set_by: &'static str) -> Result<Self, BadVia> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let scheme = ViaScheme::from_word(&scheme.to_ascii_lowercase()).ok_or(BadVia::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(Login::parse(login, scheme)?), address),
            None => (None, rest),
        };
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let endpoint = match has_port {
            true => address.parse(),
            false => format!("{address}:{}", scheme.default_port()).parse(),
        };
        let endpoint = endpoint.map_err(|_| BadVia::Address)?;
        Ok(Self { scheme, endpoint, login, set_by })
    }
}

impl Login {
    fn parse(text: &str, scheme: ViaScheme) -> Result<Self, BadVia> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| BadVia::Encoding)
        };
        let (user, password) = (decoded(user)?, decoded(password)?);
        let fits = |text: &str| (1..=SOCKS_LOGIN_BYTES).contains(&text.len());
        match scheme {
            ViaScheme::Http if user.contains(':') => Err(BadVia::Colon),
            ViaScheme::Socks5 | ViaScheme::Socks5h if !(fits(&user) && fits(&password)) => {
                Err(BadVia::Length)
            }
            _ => Ok(Self { user, password }),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.endpoint)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<Via, BadVia> {
        Via::parse(url, "--via")
    }

    fn login(url: &str) -> Option<(String, String)> {
        parse(url).unwrap().login.map(|login| (login.user, login.password))
    }

    #[test]
    fn a_url_says_how_and_where() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("HTTP://proxy:3128/", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("proxy", "http://proxy:80"),
            ("http://10.0.0.1", "http://10.0.0.1:80"),
            ("socks5://proxy", "socks5://proxy:1080"),
            ("socks5h://[::1]", "socks5h://[::1]:1080"),
            ("socks5://[::1]:9", "socks5://[::1]:9"),
        ] {
            assert_eq!(parse(url).map(|via| via.to_string()), Ok(shown.to_owned()), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_reason() {
        let long = "x".repeat(256);
        for (url, why) in [
            ("https://proxy:3128", BadVia::Scheme),
            ("socks4://proxy", BadVia::Scheme),
            ("://proxy", BadVia::Scheme),
            ("", BadVia::Address),
            ("http://", BadVia::Address),
            ("http://:3128", BadVia::Address),
            ("http://proxy:0", BadVia::Address),
            ("http://proxy:3128/path", BadVia::Address),
            ("http://a b:1", BadVia::Address),
            ("http://::1:3128", BadVia::Address),
            ("http://user:%ff@proxy", BadVia::Encoding),
            ("http://us%3Aer:x@proxy", BadVia::Colon),
            ("socks5://user@proxy", BadVia::Length),
            ("socks5://:password@proxy", BadVia::Length),
            (&format!("socks5://user:{long}@proxy"), BadVia::Length),
        ] {
            assert_eq!(parse(url), Err(why), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        let of = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(login("http://proxy"), None);
        assert_eq!(login("http://user@proxy"), of("user", ""));
        assert_eq!(login("http://user:a:b@proxy"), of("user", "a:b"));
        assert_eq!(login("http://us%65r:p%40ss%2F%25@proxy"), of("user", "p@ss/%"));
        assert_eq!(login("socks5://user:p@ss@proxy"), of("user", "p@ss"));
    }

    proptest! {
        #[test]
        fn a_login_is_read_as_it_was_and_shown_nowhere(
            user in "[^:]{1,20}", password in ".{8,20}"
        ) {
            let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let secret = encoded(&password);
            let url = format!("http://{}:{secret}@proxy:3128", encoded(&user));
            let shown = parse(&url).map(|via| format!("{via} {via:?}")).unwrap();
            prop_assert!(!shown.contains(&password) && !shown.contains(&secret));
            prop_assert_eq!(login(&url), Some((user, password)));
        }

        #[test]
        fn whatever_is_written_is_read_or_refused(url in ".*") {
            if let Ok(via) = parse(&url) {
                prop_assert_eq!(parse(&via.to_string()).unwrap().endpoint, via.endpoint);
            }
        }
    }
}
