//! Why a line was refused.

use std::borrow::Cow;

use super::codes::ErrorCode;
use crate::limits::LINE_BYTES;
use crate::names::Name;

/// Not a line of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct WireError {
    /// What the ERROR answer says.
    pub code: ErrorCode,
    /// For humans; holds nothing that the stranger sent.
    pub text: Cow<'static, str>,
}

impl WireError {
    /// A line was refused.
    pub const fn new(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text) }
    }

    /// Some names may not be registered: the text is their list, as far as it fits a line.
    pub fn of_names(code: ErrorCode, names: &[&Name]) -> Self {
        let room = LINE_BYTES - "ERROR:name_forbidden:".len();
        let mut text = String::new();
        for name in names {
            let comma = if text.is_empty() { "" } else { "," };
            if text.len() + comma.len() + name.as_str().len() > room {
                break;
            }
            text.push_str(comma);
            text.push_str(name.as_str());
        }
        Self { code, text: text.into() }
    }
}

/// Not of the form of any verb.
pub(super) const BAD_LINE: WireError = WireError::new(ErrorCode::BadLine, "malformed line");
