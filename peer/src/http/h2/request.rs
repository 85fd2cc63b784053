//! The fields of a header block, as far as they say whom a request is for.

use crate::http::flaw::H2Flaw;
use crate::names::Name;

/// What a block has said so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    authority: Option<Name>,
    host: Option<Name>,
    has_pseudo: bool,
    has_regular: bool,
}

impl Fields {
    /// Takes the next field.
    ///
    /// # Errors
    /// [`H2Flaw::Protocol`] where servers could disagree on whom the request is for.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), H2Flaw> {
        if name.is_empty() || name.iter().any(|byte| byte.is_ascii_uppercase() || *byte <= b' ') {
            return Err(H2Flaw::Protocol);
        }
        if name[0] != b':' {
            self.has_regular = true;
            return if name == b"host" { put(&mut self.host, value) } else { Ok(()) };
        }
        // Pseudo fields come first (RFC 9113 §8.3).
        if self.has_regular {
            return Err(H2Flaw::Protocol);
        }
        self.has_pseudo = true;
        match name {
            b":authority" => put(&mut self.authority, value),
            // An absolute form would name a server once more.
            b":path" if !matches!(value, [b'/', ..] | b"*") => Err(H2Flaw::Protocol),
            b":method" | b":scheme" | b":path" | b":protocol" => Ok(()),
            _ => Err(H2Flaw::Protocol),
        }
    }

    /// Whether they may end a message (RFC 9113 §8.1).
    pub(super) fn are_trailers(&self) -> bool {
        !self.has_pseudo
    }

    /// Whom the request is for.
    ///
    /// # Errors
    /// [`H2Flaw::Protocol`] if that is nobody, or two.
    pub(super) fn into_name(self) -> Result<Name, H2Flaw> {
        match (self.authority, self.host) {
            (Some(authority), Some(host)) if authority != host => Err(H2Flaw::Protocol),
            (Some(name), _) | (None, Some(name)) if self.has_pseudo => Ok(name),
            _ => Err(H2Flaw::Protocol),
        }
    }
}

fn put(slot: &mut Option<Name>, value: &[u8]) -> Result<(), H2Flaw> {
    let text = std::str::from_utf8(value).map_err(|_| H2Flaw::Protocol)?;
    let name = Name::requested(text).map_err(|_| H2Flaw::Protocol)?;
    match slot.replace(name) {
        None => Ok(()),
        Some(_) => Err(H2Flaw::Protocol),
    }
}
