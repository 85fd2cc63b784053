//! An error that the other end reports, as it may stand in a log.

use std::fmt;

use super::codes::ErrorCode;
use crate::limits::LOG_TEXT_CHARS;

/// What an ERROR line of the other end says. Its link ends, and nothing is answered.
/// Shown, the text is escaped and cut to [`LOG_TEXT_CHARS`]: a stranger wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedError {
    /// Why the other end refused.
    pub code: ErrorCode,
    /// Its own words.
    pub text: String,
}

impl fmt::Display for ReportedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.char_indices().nth(LOG_TEXT_CHARS) {
            Some((end, _)) => write!(f, "{}: {:?}…", self.code, &self.text[..end]),
            None => write!(f, "{}: {:?}", self.code, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        ReportedError { code: ErrorCode::BadLine, text: text.to_owned() }.to_string()
    }

    #[test]
    fn a_text_is_escaped_and_cut() {
        assert_eq!(shown("no"), "bad_line: \"no\"");
        assert_eq!(shown("a\n\x1b[2J\""), "bad_line: \"a\\n\\u{1b}[2J\\\"\"");
        let just = "ä".repeat(LOG_TEXT_CHARS);
        assert_eq!(shown(&just), format!("bad_line: {just:?}"));
        assert_eq!(shown(&format!("{just}ä")), format!("bad_line: {just:?}…"));
    }
}
