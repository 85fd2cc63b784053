//! What an HTTP client asks a backend for.

use std::io;

use http::request::Parts;

use crate::message::{self, Head, TOLD};
use crate::scenario::steps::Answer;

/// What an HTTP client wants.
pub(super) struct Asked {
    /// Only the head of the answer.
    pub(super) is_head: bool,
    /// Bytes that the answer shall have.
    pub(super) download: u64,
    /// Bytes that come with the request, if that is known.
    pub(super) upload: u64,
    /// They come in chunks instead.
    pub(super) chunked: bool,
    /// The client waits with them for a word.
    pub(super) expects: bool,
    /// No other request follows.
    pub(super) closes: bool,
    /// The pattern that both are of.
    pub(super) seed: u64,
    /// It was said which.
    pub(super) has_seed: bool,
    /// The protocol that it wants to go on with.
    pub(super) upgrade: Option<String>,
    /// How the answer shall be framed, and how many of status 103 come before it; the
    /// answer then says what was read.
    pub(super) wish: Option<(Answer, u32)>,
    /// The field of the answer that says what was told of the client, if anything was.
    pub(super) told: String,
    method: String,
    target: String,
    host: String,
}

impl Asked {
    /// Reads the head of a request.
    pub(super) fn parse(head: &Head) -> io::Result<Self> {
        let mut words = head.line.split(' ').map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let host = head.field("host").unwrap_or_default().to_owned();
        let asked = Self::of(method, target, host, |name| head.field(name));
        let told = Some(head.told()).filter(|told| !told.is_empty());
        let told = told.map_or(String::new(), |told| format!("{TOLD}: {told}\r\n"));
        Ok(Self { chunked: head.is_chunked(), closes: head.closes(), told, ..asked })
    }

    /// What a request of HTTP/2 asks for.
    pub(super) fn from_parts(head: &Parts) -> Self {
        let target = head.uri.path_and_query().map(ToString::to_string);
        let host = head.uri.authority().map(ToString::to_string);
        let (target, host) = (target.unwrap_or_default(), host.unwrap_or_default());
        let field = |name: &str| head.headers.get(name)?.to_str().ok();
        Self::of(head.method.to_string(), target, host, field)
    }

    fn of<'a>(
        method: String,
        target: String,
        host: String,
        field: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let mut path = target.rsplit('/');
        let last = path.next().unwrap_or("");
        let (download, seed) = last.split_once("?seed=").unwrap_or((last, ""));
        let interim = path.next().and_then(|count| count.parse().ok());
        let answer = path.next().and_then(|answer| answer.parse().ok());
        Self {
            is_head: method == "HEAD",
            download: download.parse().unwrap_or(0),
            upload: field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
            chunked: false,
            expects: field("expect").is_some(),
            closes: false,
            seed: seed.parse().unwrap_or(0),
            has_seed: !seed.is_empty(),
            upgrade: field("upgrade").map(str::to_owned),
            wish: answer.zip(interim),
            told: String::new(),
            host,
            method,
            target,
        }
    }

    /// The request and its body, in one line.
    pub(super) fn read(&self, body: &[u8], trailers: &str) -> String {
        message::read(&self.method, &self.target, &self.host, body, trailers)
    }
}
