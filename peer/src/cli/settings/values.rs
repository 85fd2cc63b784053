//! Values of settings that are of use nowhere else, and how a file spells values.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

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
