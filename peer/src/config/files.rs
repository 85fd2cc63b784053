//! The files that a peer authenticates with, and those that verify others.

use std::fmt;
use std::path::PathBuf;

use crate::trust::Token;

/// The paths of the files. [`PeerConfig::check`] says which of them are required.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The CA certificates that verify the other side, PEM.
    pub ca: Option<PathBuf>,
    /// Certificate revocation lists, PEM.
    pub crl: Option<PathBuf>,
    /// The token for listening peers.
    pub token: Option<TokenSource>,
    /// The tokens accepted from connecting peers, TOML.
    pub accept_tokens: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether both name the same files. A token from the environment stays what it is for
    /// as long as the process runs.
    pub fn is_same(&self, other: &Self) -> bool {
        let file = |one: &Self| match &one.token {
            Some(TokenSource::File(path)) => Some(path.clone()),
            Some(TokenSource::Given(_)) | None => None,
        };
        let Self { cert, key, ca, crl, accept_tokens, token } = self;
        [cert, key, ca, crl, accept_tokens]
            == [&other.cert, &other.key, &other.ca, &other.crl, &other.accept_tokens]
            && file(self) == file(other)
            && token.is_some() == other.token.is_some()
    }
}

/// Where a token comes from. Never from the command line, which anyone can read.
#[derive(Clone)]
pub enum TokenSource {
    /// A file that contains it.
    File(PathBuf),
    /// The environment.
    Given(Token),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Given(_) => f.write_str("Given(…)"),
        }
    }
}

impl TlsConfig {
    /// Whether anything is set. If so, peers speak TLS.
    pub fn is_set(&self) -> bool {
        self.cert.is_some()
            || self.key.is_some()
            || self.ca.is_some()
            || self.crl.is_some()
            || self.token.is_some()
            || self.accept_tokens.is_some()
    }

    /// Every file, with its key in the configuration.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let token = match &self.token {
            Some(TokenSource::File(path)) => Some(path),
            Some(TokenSource::Given(_)) | None => None,
        };
        [
            ("tls_cert", self.cert.as_ref()),
            ("tls_key", self.key.as_ref()),
            ("tls_ca", self.ca.as_ref()),
            ("tls_crl", self.crl.as_ref()),
            ("token_file", token),
            ("accept_tokens", self.accept_tokens.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, path)| Some((key, path?)))
    }
}
