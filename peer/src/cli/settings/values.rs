//! Values of settings that are of use nowhere else, and how a file spells values.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::config::Endpoint;
use crate::observe::access::AccessFormat;

/// Where the admin pages are, if anywhere: an address or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin(pub Option<SocketAddr>);

impl FromStr for Admin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|addr| Self(Some(addr))).map_err(|_| "expected IP:PORT, or none")
    }
}

/// Sources: a CIDR block, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub IpNet);

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse()
            .or_else(|_| single())
            .map(Self)
            .map_err(|_| "expected a CIDR block such as 10.0.0.0/8, or an IP address")
    }
}

/// The access log: none, or what a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog(pub Option<AccessFormat>);

impl FromStr for AccessLog {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            "text" => Ok(Self(Some(AccessFormat::Text))),
            "json" => Ok(Self(Some(AccessFormat::Json))),
            _ => Err("expected off, text or json"),
        }
    }
}

/// Where spans are sent: `http://HOST:PORT[/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpUrl {
    /// The collector.
    pub endpoint: Endpoint,
    /// What is asked of it.
    pub path: String,
}

impl FromStr for OtlpUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(
                    "spans are sent in clear text: use http:// and a collector next to this peer, which may pass them on by TLS",
                );
            }
            _ => return Err("expected a URL such as http://127.0.0.1:4318"),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let with_port = if has_port { host.to_owned() } else { format!("{host}:4318") };
        let endpoint =
            with_port.parse().map_err(|_| "expected a URL such as http://127.0.0.1:4318")?;
        let is_plain =
            path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte));
        if !is_plain {
            return Err("expected a path of plain ASCII without a query");
        }
        let path = if path.len() < 2 { "/v1/traces" } else { path };
        Ok(Self { endpoint, path: path.to_owned() })
    }
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or(NO_SHARE)
    }
}

const NO_SHARE: &str = "expected a number from 0 to 1, such as 0.01";

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        let is_one = (0.0..=1.0).contains(&share);
        is_one.then_some(Self(share)).ok_or_else(|| de::Error::custom(NO_SHARE))
    }
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// In the file as on the command line.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

pub(super) fn from_texts<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: String| {
        text.parse().map_err(|error| de::Error::custom(format_args!("{text:?}: {error}")))
    };
    texts.into_iter().map(parse).collect()
}
