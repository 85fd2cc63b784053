//! What a certificate says about its owner: the names and addresses it is valid
//! for, and the trust domain of its CA.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::names::Name;

/// Why a [wildcard of a single label](Name::is_single_label_wildcard) is refused.
pub(crate) const SINGLE_LABEL_WILDCARD: &str = "no TLS client or server accepts a wildcard \
    followed by a single label; use at least two, as in *.mesh.local, or list the names";

/// A name or an address that a certificate is valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Name(Name),
    Address(IpAddr),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Address(address));
        }
        let name = Name::registered(text).map_err(|error| error.to_string())?;
        if name.is_single_label_wildcard() {
            return Err(SINGLE_LABEL_WILDCARD.to_owned());
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The trust domain of SPIFFE ids (SPIFFE-ID §2.1): the name of a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustDomain(String);

impl FromStr for TrustDomain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(plain) {
            return Err("expected 1 to 255 lower-case letters, digits, '.', '-' and '_'");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
