//! The TLS of one peer: what its files hold, and where they lie.

use std::path::PathBuf;

use ops_proxy::config::{TlsConfig, TokenSource};
use serde::{Deserialize, Serialize};

/// The TLS of one peer: what its files hold when it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSpec {
    /// Its certificate, and the key to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The CAs that it believes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<String>,
    /// What it knows to be revoked; without, it does not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<String>,
    /// The token that it shows to listening peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The tokens that it accepts from connecting peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept_tokens: Vec<TokenRule>,
}

impl TlsSpec {
    /// The configuration that names the files of a peer with this TLS.
    pub fn config(&self) -> TlsConfig {
        let path = |there: bool, file: File| there.then(|| PathBuf::from(file.path()));
        TlsConfig {
            cert: path(self.certificate.is_some(), File::Certificate),
            key: path(self.certificate.is_some(), File::Key),
            ca: path(!self.ca.is_empty(), File::Ca),
            crl: path(self.revocations.is_some(), File::Revocations),
            token: path(self.token.is_some(), File::Token).map(TokenSource::File),
            accept_tokens: path(!self.accept_tokens.is_empty(), File::AcceptTokens),
        }
    }
}

/// A token that a listening peer accepts; as the peer's own file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRule {
    /// The token.
    pub secret: String,
    /// The one peer that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What may be registered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// What may be reached with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<String>,
}

/// One of the files of a peer's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum File {
    /// The peer's own certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The CAs that it believes.
    Ca,
    /// The revocation list.
    Revocations,
    /// The token that it shows.
    Token,
    /// The tokens that it accepts.
    AcceptTokens,
}

impl File {
    /// Where it lies.
    pub fn path(self) -> &'static str {
        match self {
            Self::Certificate => "tls/peer.pem",
            Self::Key => "tls/peer-key.pem",
            Self::Ca => "tls/ca.pem",
            Self::Revocations => "tls/revoked.pem",
            Self::Token => "tls/token",
            Self::AcceptTokens => "tls/tokens.toml",
        }
    }
}
