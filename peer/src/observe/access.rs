//! The access log: one line for each HTTP request, for each stream of another kind, and for
//! each refusal; and for each FORWARD that a connecting peer serves. The proxy id in it finds
//! the same request in the logs of both peers.
//!
//! A peer hands each [`Access`] to a sink and never waits for it; whoever takes it formats it.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::http::RequestLine;
use crate::names::{Name, PeerId, ProxyId};
use crate::offer::Way;
use crate::words::words;

/// Takes the lines of the access log, at once and without waiting for anything.
pub trait AccessLog: fmt::Debug + Send + Sync {
    /// Takes a line.
    fn take(&self, access: Access);
}

words! {
    /// How an access ended.
    Outcome {
        /// As both ends wanted.
        Ok = "ok",
        /// It was begun, and cut or not answered.
        Failed = "failed",
        /// This peer did not let it through.
        Refused = "refused",
    }
}

/// One line of the access log; what is not known is left out.
#[derive(Debug, Clone)]
pub struct Access {
    /// The request; none if it was refused before it had one.
    pub id: Option<ProxyId>,
    /// Which HTTP request of its stretch it is, from 1.
    pub number: Option<u64>,
    /// The client, where it is known.
    pub client: Option<SocketAddr>,
    /// What was asked for.
    pub name: Option<Name>,
    /// How.
    pub way: Option<Way>,
    /// Method and target.
    pub line: Option<Box<RequestLine>>,
    /// The status that was sent.
    pub status: Option<u16>,
    /// Payload bytes, client to backend.
    pub sent: u64,
    /// Payload bytes, backend to client.
    pub received: u64,
    /// From its beginning to its end.
    pub duration: Duration,
    /// From its beginning to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Who served it.
    pub provider: Option<Provided>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not end well.
    pub reason: Option<&'static str>,
}

/// Who served a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provided {
    /// This very peer.
    Local,
    /// The peer of this id.
    Peer(PeerId),
}

impl fmt::Display for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Peer(peer) => write!(f, "{peer}"),
        }
    }
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// For people: `key=value`, what strangers sent in quotes.
    Text,
    /// One JSON object, of the same shape as the rest of the log.
    Json,
}

impl Access {
    /// Adds its line, with its LF, to `out`. With `query`, the query of the path stays.
    pub fn write(&self, out: &mut String, format: AccessFormat, at: SystemTime, query: bool) {
        let time = humantime::format_rfc3339_micros(at);
        let fields = Fields { access: self, query };
        let written = match format {
            AccessFormat::Text => fields.text(out, &time),
            AccessFormat::Json => fields.json(out, &time),
        };
        written.expect("writing to memory does not fail");
        out.push('\n');
    }
}

struct Fields<'a> {
    access: &'a Access,
    query: bool,
}

/// A field's value: a number stands as it is, a word is quoted in JSON, and what a stranger
/// may have sent is escaped.
enum Value<'a> {
    Number(u64),
    Seconds(Duration),
    Word(&'a dyn fmt::Display),
    Foreign(&'a str),
}

impl Fields<'_> {
    fn text(&self, out: &mut String, time: &dyn fmt::Display) -> fmt::Result {
        write!(out, "{time}  INFO access:")?;
        self.each(&mut |key, value| {
            write!(out, " {key}=")?;
            match value {
                Value::Number(number) => write!(out, "{number}"),
                Value::Seconds(time) => write!(out, "{:.6}", time.as_secs_f64()),
                Value::Word(word) => write!(out, "{word}"),
                Value::Foreign(text) => quote(out, text),
            }
        })
    }

    fn json(&self, out: &mut String, time: &dyn fmt::Display) -> fmt::Result {
        write!(out, "{{\"timestamp\":\"{time}\",\"level\":\"INFO\",\"fields\":{{")?;
        let mut separator = "";
        self.each(&mut |key, value| {
            write!(out, "{separator}\"{key}\":")?;
            separator = ",";
            match value {
                Value::Number(number) => write!(out, "{number}"),
                Value::Seconds(time) => write!(out, "{:.6}", time.as_secs_f64()),
                Value::Word(word) => write!(out, "\"{word}\""),
                Value::Foreign(text) => quote(out, text),
            }
        })?;
        out.write_str("},\"target\":\"access\"}")
    }

    fn each(&self, put: &mut dyn FnMut(&str, Value<'_>) -> fmt::Result) -> fmt::Result {
        let Access { id, number, client, name, way, line, status, provider, .. } = self.access;
        match (id, number) {
            (Some(id), Some(number)) => put("id", Value::Word(&format_args!("{id}.{number}")))?,
            (Some(id), None) => put("id", Value::Word(id))?,
            (None, _) => {}
        }
        let words: [(&str, Option<&dyn fmt::Display>); 3] = [
            ("client", client.as_ref().map(|it| it as _)),
            ("name", name.as_ref().map(|it| it as _)),
            ("way", way.as_ref().map(|it| it as _)),
        ];
        for (key, word) in words {
            word.map_or(Ok(()), |word| put(key, Value::Word(word)))?;
        }
        if let Some(line) = line {
            put("method", Value::Foreign(&line.method))?;
            put("path", Value::Foreign(path(&line.target, self.query)))?;
        }
        if let Some(status) = status {
            put("status", Value::Number(u64::from(*status)))?;
        }
        put("tx", Value::Number(self.access.sent))?;
        put("rx", Value::Number(self.access.received))?;
        put("duration", Value::Seconds(self.access.duration))?;
        if let Some(first_byte) = self.access.first_byte {
            put("first_byte", Value::Seconds(first_byte))?;
        }
        if let Some(provider) = provider {
            put("provider", Value::Word(provider))?;
        }
        put("outcome", Value::Word(&self.access.outcome))?;
        self.access.reason.map_or(Ok(()), |reason| put("reason", Value::Word(&reason)))
    }
}

/// The path of a target, without scheme and authority.
fn path(target: &str, query: bool) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    if query { path } else { path.split('?').next().unwrap_or(path) }
}

/// In quotes, so that one line stays one line; as JSON has it (RFC 8259 §7).
fn quote(out: &mut String, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                write!(out, "\\u{:04x}", u32::from(control))?;
            }
            plain => out.write_char(plain)?,
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(target: &str) -> Access {
        let line = RequestLine { method: "GET".to_owned(), target: target.to_owned() };
        Access {
            id: Some(ProxyId::from_random([7; 16])),
            number: Some(3),
            client: Some("192.0.2.1:4711".parse().unwrap()),
            name: Some(Name::requested("app.example").unwrap()),
            way: Some(Way::Http),
            line: Some(Box::new(line)),
            status: Some(200),
            sent: 10,
            received: 20,
            duration: Duration::from_micros(1500),
            first_byte: Some(Duration::from_millis(1)),
            provider: Some(Provided::Peer("site-1".parse().unwrap())),
            outcome: Outcome::Ok,
            reason: None,
        }
    }

    fn written(access: &Access, format: AccessFormat, query: bool) -> String {
        let mut out = String::new();
        access.write(&mut out, format, SystemTime::UNIX_EPOCH, query);
        out
    }

    #[test]
    fn a_line_says_all_that_is_known() {
        let id = ProxyId::from_random([7; 16]);
        assert_eq!(
            written(&access("/a?b"), AccessFormat::Text, false),
            format!(
                "1970-01-01T00:00:00.000000Z  INFO access: id={id}.3 client=192.0.2.1:4711 \
                 name=app.example way=http method=\"GET\" path=\"/a\" status=200 tx=10 rx=20 \
                 duration=0.001500 first_byte=0.001000 provider=site-1 outcome=ok\n"
            )
        );
        let refused = Access {
            id: None,
            number: None,
            client: None,
            name: None,
            line: None,
            first_byte: None,
            provider: None,
            outcome: Outcome::Refused,
            reason: Some("bad_head"),
            ..access("")
        };
        assert_eq!(
            written(&refused, AccessFormat::Json, false),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"INFO\",\"fields\":{\
             \"way\":\"http\",\"status\":200,\"tx\":10,\"rx\":20,\"duration\":0.001500,\
             \"outcome\":\"refused\",\"reason\":\"bad_head\"},\"target\":\"access\"}\n"
        );
    }

    #[test]
    fn the_query_and_the_authority_are_left_out_unless_wanted() {
        for (target, without, with) in [
            ("/a?secret=1", "/a", "/a?secret=1"),
            ("http://app.example/a?b", "/a", "/a?b"),
            ("http://app.example?b", "", "?b"),
            ("http://app.example", "/", "/"),
            ("/a?to=http://b", "/a", "/a?to=http://b"),
            ("*", "*", "*"),
        ] {
            assert_eq!((path(target, false), path(target, true)), (without, with), "{target}");
        }
    }

    #[test]
    fn what_strangers_send_stays_on_its_line_and_within_its_quotes() {
        for format in [AccessFormat::Text, AccessFormat::Json] {
            let line = written(&access("/\n\r\"\\\u{1b}\u{2028}é"), format, true);
            assert_eq!(line.lines().count(), 1);
            assert!(line.contains("\"/\\u000a\\u000d\\\"\\\\\\u001b\\u2028é\""), "{line}");
        }
    }
}
