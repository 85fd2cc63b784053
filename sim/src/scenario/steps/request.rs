//! What a client asks for.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::described::Described;
use super::exchange::Exchange;
use super::via::Via;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::{Size, Time};

/// One request, or many of the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The client's host.
    pub from: String,
    /// Where it connects, as `host:port`.
    pub to: String,
    /// How it says what it wants.
    #[serde(default)]
    pub via: Via,
    /// The name that it asks for; a raw TCP port has its own. `{n}` stands for
    /// the number of the request, of `count`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Bytes to send.
    #[serde(default)]
    pub upload: Size,
    /// Bytes that an HTTP backend shall answer with.
    #[serde(default)]
    pub download: Size,
    /// Bytes by which a ClientHello is longer than it need be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<Size>,
    /// The ClientHello comes in records with at most so many bytes each; in one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Size>,
    /// What is said over a stream.
    #[serde(default, skip_serializing_if = "Talk::is_echo")]
    pub talk: Talk,
    /// So many of them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// One after another at this distance; all at once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Time>,
    /// HTTP requests on one connection, instead of `name` and what belongs to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
    /// The client sends all of them at once, as far as none has to wait for an answer; or all
    /// datagrams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pipelined: bool,
    /// Fields about clients, such as `X-Forwarded-For: 203.0.113.66`, that come with each HTTP
    /// request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// The client is a proxy that speaks for this one, and says so in a header of the PROXY
    /// protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaks_for: Option<Ipv4Addr>,
    /// A client of HTTP/2 asks for nothing before the server's SETTINGS have come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_settings: bool,
    /// Everything is written in pieces of at most so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Size>,
    /// HTTP requests on the one connection.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub keep_alive: u32,
    /// The client ends its direction once it has sent all, and goes on reading.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half_close: bool,
    /// Everything is written one byte at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
    /// The client reads so many bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_rate: Option<Size>,
    /// The client resets the connection once it has got so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_after: Option<Size>,
    /// The client leaves (resets) after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Time>,
    /// How it shall end for the client, every one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

fn one() -> u32 {
    1
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Request {
    /// Whether it goes to this host.
    pub fn is_to(&self, host: &str) -> bool {
        self.to.rsplit_once(':').is_some_and(|(name, _)| name == host)
    }

    /// Each of the requests that this stands for, and how much later than this it comes.
    pub fn each(&self) -> impl Iterator<Item = (Duration, Self)> {
        (0..self.count).map(|index| {
            let later = self.every.map_or(Duration::ZERO, |every| every.0 * index);
            let name = self.name.replace("{n}", &(index + 1).to_string());
            (later, Self { name, ..self.clone() })
        })
    }
}

/// What is said over a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Talk {
    /// The client sends, and gets the same back.
    #[default]
    Echo,
    /// The client waits for the greeting, then as `echo`.
    Greeting,
    /// The client only listens to an endless backend.
    Listen,
}

impl Talk {
    fn is_echo(&self) -> bool {
        *self == Self::Echo
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let via = match self.via {
            Via::Http if !self.exchanges.is_empty() => {
                return write!(f, "{} exchanges at {}", self.exchanges.len(), self.to);
            }
            Via::Http2 => {
                return write!(f, "{} streams at {}", self.exchanges.len(), self.to);
            }
            Via::Http => self.method.as_deref().unwrap_or("GET"),
            Via::Tls => "TLS",
            Via::Connect => "CONNECT",
            Via::Tcp => "TCP",
            Via::Udp => "UDP",
        };
        write!(f, "{via} {} at {}", if self.name.is_empty() { "-" } else { &self.name }, self.to)
    }
}

/// Bytes of a datagram where nothing is said.
const USUAL_DATAGRAM: u64 = 1_200;

impl Request {
    /// The lengths of the datagrams that its upload is sent in; an empty one is one, too.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = usize> + use<> {
        let (all, most) = (self.upload.0, self.cuts.map_or(USUAL_DATAGRAM, |cuts| cuts.0.max(1)));
        let count = usize::try_from(all.div_ceil(most).max(1)).unwrap_or(usize::MAX);
        (0..count).map(move |nth| (all - (nth as u64 * most).min(all)).min(most) as usize)
    }

    /// A small request, to see whether a name is served.
    pub fn probe(from: &str, to: &str, name: &str, via: Via) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            via,
            name: name.to_owned(),
            method: None,
            upload: Size(100),
            download: Size(100),
            padding: None,
            records: None,
            talk: Talk::Echo,
            count: 1,
            every: None,
            exchanges: Vec::new(),
            pipelined: false,
            claims: Vec::new(),
            speaks_for: None,
            awaits_settings: false,
            cuts: None,
            keep_alive: 1,
            half_close: via != Via::Http,
            split: false,
            read_rate: None,
            abort_after: None,
            patience: None,
            expect: None,
        }
    }
}

impl Described for Request {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        cast.check_client("from", &self.from)?;
        cast.check_endpoint("to", &self.to)?;
        if !self.exchanges.is_empty() {
            let is_http = matches!(self.via, Via::Http | Via::Http2);
            let alone = is_http && self.name.is_empty() && self.keep_alive == 1;
            if !alone || self.method.is_some() || self.upload.0 + self.download.0 > 0 {
                let message = "`exchanges` stand for `name` and all that belongs to it, in HTTP";
                return Err(Problem::new("exchanges", "", message));
            }
            let last = self.exchanges.len() - 1;
            for (index, exchange) in self.exchanges.iter().enumerate() {
                exchange.check(self.via, index == last)?;
            }
        } else if self.via == Via::Http2 {
            let message = "in HTTP/2, a request is `exchanges`";
            return Err(Problem::new("exchanges", "", message));
        } else if self.name.is_empty() != matches!(self.via, Via::Tcp | Via::Udp) {
            let message = "a name is needed, except for `tcp` and `udp`, which have none";
            return Err(Problem::new("name", &self.name, message));
        }
        if !self.claims.is_empty() && self.via != Via::Http {
            return Err(Problem::new("claims", "", "fields come with requests by HTTP"));
        }
        if self.speaks_for.is_some() && matches!(self.via, Via::Http2 | Via::Udp) {
            let message = "neither datagrams nor clients of HTTP/2 send a header";
            return Err(Problem::new("speaks_for", "", message));
        }
        if self.awaits_settings && self.via != Via::Http2 {
            return Err(Problem::new("awaits_settings", "true", "only HTTP/2 has SETTINGS"));
        }
        if self.count == 0 || self.keep_alive == 0 {
            return Err(Problem::new("count", "0", "at least one is needed"));
        }
        Ok(())
    }

    fn title(&self) -> String {
        let times = if self.count > 1 { format!("{} times ", self.count) } else { String::new() };
        format!("{} asks {times}{self}", self.from)
    }
}
