//! What a peer says about a name that it registers: the ways in which the name may be
//! reached, the clients that may, and what its backend understands.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::limits::{ALLOWED_SOURCES, PATH_PEERS};
use crate::names::{Name, PeerId};
use crate::words::words;

words! {
    /// A way in which a public client reaches a name.
    Way {
        /// By the Host of an HTTP request.
        Http = "http",
        /// By the SNI of a ClientHello; TLS ends at the backend.
        Https = "https",
        /// By a port that the listening peer has mapped to the name.
        Tcp = "tcp",
        /// By an HTTP CONNECT, which gives the client raw bytes to the backend.
        Connect = "connect",
        /// By a UDP port that the listening peer has mapped to the name.
        Udp = "udp",
    }
}

/// Some of the [`Way`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways(u8);

/// Not a list of ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a way: use http, https, tcp, connect or udp")]
pub struct BadWay(String);

impl Ways {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(0b1_1111);
    /// Those of a service that names none. CONNECT would give any stranger raw bytes to
    /// the backend, and UDP needs a backend of its own, so both have to be named.
    pub const USUAL: Self = Self(0b0_0111);

    /// Whether `way` is one of them.
    pub fn contains(self, way: Way) -> bool {
        self.0 & Self::bit(way) != 0
    }

    /// These and `way`.
    #[must_use]
    pub fn with(self, way: Way) -> Self {
        Self(self.0 | Self::bit(way))
    }

    /// Them, in order.
    pub fn iter(self) -> impl Iterator<Item = Way> {
        Way::ALL.iter().copied().filter(move |way| self.contains(*way))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    fn bit(way: Way) -> u8 {
        1 << way as u8
    }
}

impl FromIterator<Way> for Ways {
    fn from_iter<I: IntoIterator<Item = Way>>(ways: I) -> Self {
        ways.into_iter().fold(Self::NONE, Self::with)
    }
}

impl FromStr for Way {
    type Err = BadWay;

    fn from_str(text: &str) -> Result<Self, BadWay> {
        Self::from_word(text).ok_or_else(|| BadWay(text.to_owned()))
    }
}

/// What a peer says about a name that it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How the name may be reached.
    pub ways: Ways,
    /// The clients that may reach it; all, if there is none.
    pub allow: Box<[IpNet]>,
    /// HTTP requests are to tell the backend who the client is (RFC 7239, `X-Forwarded-*`).
    pub forwarded: bool,
    /// The backend speaks HTTP/2 in clear text (RFC 9113 §3.3).
    pub h2c: bool,
    /// The peers that a request passes on its way, the one beside the backend first and
    /// whoever registers the name last; none where that is one and the same. At most
    /// [`PATH_PEERS`].
    pub path: Box<[PeerId]>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            ways: Ways::USUAL,
            allow: Box::default(),
            forwarded: true,
            h2c: false,
            path: Box::default(),
        }
    }
}

impl Terms {
    /// Whether the client at this address may reach the name.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client))
    }
}

/// A name with its terms: `<name>[@<peer id>[>…]][;ways=<way>[+<way>…]][;allow=<net>[+<net>…]]
/// [;forwarded=no][;h2c=yes]`, as in REGISTER. What is not said is as usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name, which may be a wildcard.
    pub name: Name,
    /// What is said about it.
    pub terms: Terms,
}

/// Not an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOffer {
    /// The name is malformed.
    #[error("a name is malformed")]
    Name,
    /// The name is well-formed, but not what is said about it.
    #[error("the terms of a name are malformed")]
    Terms,
}

impl From<Name> for Offer {
    /// With the usual terms.
    fn from(name: Name) -> Self {
        Self { name, terms: Terms::default() }
    }
}

impl FromStr for Offer {
    type Err = BadOffer;

    fn from_str(text: &str) -> Result<Self, BadOffer> {
        let mut parts = text.split(';');
        let first = parts.next().unwrap_or_default();
        let (name, path) = match first.split_once('@') {
            Some((name, path)) => (name, read_path(path)?),
            None => (first, Box::default()),
        };
        let name = Name::registered(name).map_err(|_| BadOffer::Name)?;
        let mut terms = Terms { path, ..Terms::default() };
        for part in parts {
            let (key, value) = part.split_once('=').ok_or(BadOffer::Terms)?;
            match (key, value) {
                ("ways", list) => terms.ways = read(list)?,
                ("allow", list) => terms.allow = read(list)?,
                ("forwarded", "no") => terms.forwarded = false,
                ("h2c", "yes") => terms.h2c = true,
                _ => return Err(BadOffer::Terms),
            }
        }
        match terms.allow.len() <= ALLOWED_SOURCES {
            true => Ok(Self { name, terms }),
            false => Err(BadOffer::Terms),
        }
    }
}

fn read_path(text: &str) -> Result<Box<[PeerId]>, BadOffer> {
    let path: Result<Box<[PeerId]>, _> = text.split('>').map(str::parse).collect();
    path.ok().filter(|path| path.len() <= PATH_PEERS).ok_or(BadOffer::Terms)
}

fn read<T: FromStr, L: FromIterator<T>>(list: &str) -> Result<L, BadOffer> {
    list.split('+').map(|one| one.parse().map_err(|_| BadOffer::Terms)).collect()
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { ways, allow, forwarded, h2c, path } = &self.terms;
        write!(f, "{}", self.name)?;
        for (index, peer) in path.iter().enumerate() {
            write!(f, "{}{peer}", if index == 0 { '@' } else { '>' })?;
        }
        if *ways != Ways::USUAL {
            write!(f, ";ways={ways}")?;
        }
        for (index, net) in allow.iter().enumerate() {
            write!(f, "{}{net}", if index == 0 { ";allow=" } else { "+" })?;
        }
        if !forwarded {
            f.write_str(";forwarded=no")?;
        }
        if *h2c {
            f.write_str(";h2c=yes")?;
        }
        Ok(())
    }
}

impl fmt::Display for Ways {
    /// As on the wire: `http+tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, way) in self.iter().enumerate() {
            write!(f, "{}{way}", if index == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_need_not_be_said() {
        let offer: Offer = "App.example.".parse().unwrap();
        assert_eq!((offer.to_string().as_str(), offer.terms.ways), ("app.example", Ways::USUAL));
        assert!(!offer.terms.ways.contains(Way::Connect));
        for text in [
            "app;ways=tcp",
            "app;ways=udp",
            "*.app;ways=http+connect;allow=10.0.0.0/8+2001:db8::/32;forwarded=no;h2c=yes",
            "[::1];allow=192.0.2.1/32",
            "app@site/a>mid;h2c=yes",
        ] {
            assert_eq!(text.parse::<Offer>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "app;",
            "app;ways",
            "app;ways=",
            "app;ways=quic",
            "app;ways=http+",
            "app;allow=10.0.0.1",
            "app;allow=",
            "app;forwarded=yes",
            "app;h2c=no",
            "app;more=1",
            "app; ways=http",
            "app@",
            "app@a>",
            "app@a,b",
            "app@1>2>3>4>5>6>7>8>9",
        ] {
            assert_eq!(text.parse::<Offer>(), Err(BadOffer::Terms), "{text}");
        }
        assert_eq!(";ways=http".parse::<Offer>(), Err(BadOffer::Name));
        let nets = vec!["10.0.0.0/8"; ALLOWED_SOURCES + 1].join("+");
        assert_eq!(format!("app;allow={nets}").parse::<Offer>(), Err(BadOffer::Terms));
    }

    #[test]
    fn only_those_who_are_allowed_may_reach_it() {
        let allows = |terms: &Terms, client: &str| terms.allows(client.parse().unwrap());
        assert!(allows(&Terms::default(), "192.0.2.1"));
        let terms = "a;allow=10.0.0.0/8+2001:db8::/32".parse::<Offer>().unwrap().terms;
        assert!(allows(&terms, "10.9.9.9") && allows(&terms, "::ffff:10.9.9.9"));
        assert!(allows(&terms, "2001:db8::1"));
        assert!(!allows(&terms, "11.0.0.1") && !allows(&terms, "2001:db9::1"));
    }
}
