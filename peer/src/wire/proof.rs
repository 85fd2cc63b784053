//! Proves knowledge of a token without revealing it.

use std::fmt;
use std::str::FromStr;

use crate::names::ProxyId;

/// An HMAC-SHA256 tag that proves knowledge of a token, as 64 lower-case hex digits on
/// the wire. Useless outside the TLS session it was made for.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenProof([u8; 32]);

impl TokenProof {
    /// The proof of this tag.
    pub fn new(tag: [u8; 32]) -> Self {
        Self(tag)
    }

    /// The tag. To be compared in constant time only.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for TokenProof {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_at_checked(32).ok_or(())?;
        let half = |text: &str| text.parse::<ProxyId>().map(|half| half.to_bytes());
        let mut tag = [0; 32];
        tag[..16].copy_from_slice(&half(high).map_err(drop)?);
        tag[16..].copy_from_slice(&half(low).map_err(drop)?);
        Ok(Self(tag))
    }
}

impl fmt::Display for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProof(…)")
    }
}
