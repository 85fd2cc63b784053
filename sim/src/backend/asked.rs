//! What an HTTP client asks a backend for.

use std::io;

/// What an HTTP client wants.
pub(super) struct Asked {
    /// Only the head of the answer.
    pub(super) is_head: bool,
    /// Bytes that the answer shall have.
    pub(super) download: u64,
    /// Bytes that come with the request.
    pub(super) upload: u64,
    /// The pattern that both are of.
    pub(super) seed: u64,
    /// It was said which.
    pub(super) has_seed: bool,
    /// The protocol that it wants to go on with.
    pub(super) upgrade: Option<String>,
}

impl Asked {
    /// Reads the head of a request.
    pub(super) fn parse(head: &[u8]) -> io::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let whole = request.parse(head).is_ok_and(|status| status.is_complete());
        if !whole {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let path = request.path.unwrap_or("/").rsplit('/').next().unwrap_or("");
        let (download, seed) = path.split_once("?seed=").unwrap_or((path, ""));
        let length = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
        let upgrade = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case("upgrade"));
        let upgrade = upgrade.map(|field| String::from_utf8_lossy(field.value).into_owned());
        Ok(Self {
            upgrade,
            is_head: request.method == Some("HEAD"),
            download: download.parse().unwrap_or(0),
            upload: length.unwrap_or(0),
            seed: seed.parse().unwrap_or(0),
            has_seed: !seed.is_empty(),
        })
    }
}
