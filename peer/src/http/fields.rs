//! The fields that frame a message and say how its connection goes on.

use httparse::Header;

use super::flaw::Flaw;

/// What the fields of a head say of framing and connection.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Content-Length (RFC 9110 §8.6).
    pub(super) length: Option<u64>,
    /// Whether there is a Transfer-Encoding, and whether its last coding is `chunked`, its
    /// only one at that.
    pub(super) coding: Option<Coding>,
    /// Connection holds `close`.
    pub(super) close: bool,
    /// Connection holds `keep-alive`.
    pub(super) keep_alive: bool,
    /// There is an Upgrade.
    pub(super) upgrade: bool,
    /// There is an Expect, which can only be `100-continue`.
    pub(super) expects: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// `chunked` and nothing else.
    Chunked,
    /// Others, `chunked` the last.
    ChunkedLast,
    /// Others, without `chunked`.
    Other,
}

impl Fields {
    /// # Errors
    /// [`Flaw::Framing`] for what cannot be read in one way.
    pub(super) fn read(headers: &[Header<'_>]) -> Result<Self, Flaw> {
        let mut fields = Self::default();
        let mut is_twofold = false;
        for Header { name, value } in headers {
            match name.len() {
                14 if is(name, "Content-Length") => {
                    is_twofold |= fields.length.replace(length(value)?).is_some();
                }
                17 if is(name, "Transfer-Encoding") => {
                    is_twofold |= fields.coding.replace(coding(value)?).is_some();
                }
                10 if is(name, "Connection") => {
                    for token in tokens(value) {
                        fields.close |= token.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                7 if is(name, "Upgrade") => fields.upgrade = true,
                6 if is(name, "Expect") => fields.expects = true,
                // Some servers take an underscore for a hyphen.
                14 | 17 if is_framing_to_some(name) => return Err(Flaw::Framing),
                _ => {}
            }
        }
        // Twice is refused even when equal: not everyone compares them.
        is_twofold |= fields.length.is_some() && fields.coding.is_some();
        if is_twofold { Err(Flaw::Framing) } else { Ok(fields) }
    }
}

/// Whether a field has this name, which most write like this.
pub(super) fn is(name: &str, known: &str) -> bool {
    name == known || name.eq_ignore_ascii_case(known)
}

fn is_framing_to_some(name: &str) -> bool {
    ["content_length", "transfer_encoding"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn length(value: &[u8]) -> Result<u64, Flaw> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Flaw::Framing);
    }
    let digits = std::str::from_utf8(value).map_err(|_| Flaw::Framing)?;
    // As much as can be counted: what is more is no length of anything.
    digits.parse().ok().filter(|length| *length < u64::MAX / 2).ok_or(Flaw::Framing)
}

fn coding(value: &[u8]) -> Result<Coding, Flaw> {
    let all: Vec<&[u8]> = tokens(value).collect();
    let is_token = |token: &&[u8]| {
        !token.is_empty() && token.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let is_chunked = |token: &[u8]| token.eq_ignore_ascii_case(b"chunked");
    let Some((last, others)) = all.split_last() else { return Err(Flaw::Framing) };
    if !all.iter().all(is_token) || others.iter().any(|one| is_chunked(one)) {
        return Err(Flaw::Framing);
    }
    Ok(match (is_chunked(last), others.is_empty()) {
        (true, true) => Coding::Chunked,
        (true, false) => Coding::ChunkedLast,
        (false, _) => Coding::Other,
    })
}

/// The members of a list (RFC 9110 §5.6.1), empty ones included.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
