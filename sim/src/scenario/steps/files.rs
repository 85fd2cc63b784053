//! The files of a peer's TLS, replaced while it runs.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::tls::{File, TokenRule};

/// Replaces files of a peer's TLS. The peer looks at them every ten seconds, or
/// when it is told to [`Reload`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replace {
    /// The peer.
    pub peer: String,
    /// Another certificate, and the key to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The key of another certificate, alone: half of a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Other CAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Vec<String>>,
    /// Another revocation list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<String>,
    /// Another token to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Other tokens to accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_tokens: Option<Vec<TokenRule>>,
    /// This file becomes garbage; any other change makes it whole again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub garbled: Option<File>,
}

impl Replace {
    fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        changes.extend(self.certificate.as_ref().map(|name| format!("certificate {name}")));
        changes.extend(self.key.as_ref().map(|name| format!("the key of {name}")));
        changes.extend(self.ca.as_ref().map(|cas| format!("ca {}", cas.join(" and "))));
        changes.extend(self.revocations.as_ref().map(|name| format!("revocations {name}")));
        changes.extend(self.token.as_ref().map(|_| "another token".to_owned()));
        changes.extend(self.accept_tokens.as_ref().map(|_| "other tokens accepted".to_owned()));
        changes.extend(self.garbled.map(|file| format!("garbage for {file:?}")));
        changes
    }

    /// A file that the peer was not configured with is none that it reads.
    fn check_there(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        let tls = cast.peers[&self.peer].tls.clone().unwrap_or_default();
        let garbled = |file| self.garbled == Some(file);
        let missing = [
            ("certificate", self.certificate.is_some(), tls.certificate.is_none()),
            ("key", self.key.is_some(), tls.certificate.is_none()),
            ("ca", self.ca.is_some(), tls.ca.is_empty()),
            ("revocations", self.revocations.is_some(), tls.revocations.is_none()),
            ("token", self.token.is_some(), tls.token.is_none()),
            ("accept_tokens", self.accept_tokens.is_some(), tls.accept_tokens.is_empty()),
            ("garbled", garbled(File::Certificate), tls.certificate.is_none()),
            ("garbled", garbled(File::Key), tls.certificate.is_none()),
            ("garbled", garbled(File::Ca), tls.ca.is_empty()),
            ("garbled", garbled(File::Revocations), tls.revocations.is_none()),
            ("garbled", garbled(File::Token), tls.token.is_none()),
            ("garbled", garbled(File::AcceptTokens), tls.accept_tokens.is_empty()),
        ];
        match missing.iter().find(|(_, replaced, missing)| *replaced && *missing) {
            Some((key, ..)) => {
                let message = format!("\"{}\" has no such file in its `tls` to replace", self.peer);
                Err(Problem::new(key, &self.peer, message))
            }
            None => Ok(()),
        }
    }
}

impl Described for Replace {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.peer)?;
        if let Some(certificate) = &self.certificate {
            cast.check_certificate("certificate", certificate)?;
        }
        if let Some(certificate) = &self.key {
            cast.check_certificate("key", certificate)?;
        }
        for ca in self.ca.iter().flatten() {
            cast.check_ca("ca", Some(ca))?;
        }
        if let Some(list) = &self.revocations {
            cast.check_revocations("revocations", list)?;
        }
        if self.changes().is_empty() {
            let message = "one of certificate, key, ca, revocations, token, accept_tokens and \
                           garbled is needed";
            return Err(Problem::new("peer", &self.peer, message));
        }
        self.check_there(cast)
    }

    fn title(&self) -> String {
        format!("files of {}: {}", self.peer, self.changes().join(", "))
    }
}

/// A peer looks at the files of its TLS now, as on SIGHUP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reload(pub String);

impl Described for Reload {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_peer("peer", &self.0)?;
        match cast.peers[&self.0].tls {
            Some(_) => Ok(()),
            None => Err(Problem::new("peer", &self.0, "it has no `tls`, and so no files")),
        }
    }

    fn title(&self) -> String {
        format!("reload {}", self.0)
    }
}
