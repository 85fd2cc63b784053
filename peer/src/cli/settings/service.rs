//! Services as an operator writes them: `NAME[/WAY]=HOST:PORT`, or a `[[service]]` table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::health::HealthTable;
use super::values::{Source, from_text, from_texts};
use crate::config::{BadEndpoint, ConfigError, Endpoint, ProxyVersion, Service};
use crate::limits::ALLOWED_SOURCES;
use crate::names::Name;
use crate::offer::{BadWay, Terms, Way, Ways};

/// One entry of the list of services.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceEntry {
    /// `NAME=HOST:PORT`, or `NAME/WAY=HOST:PORT`, with `udp://` before a host that takes
    /// datagrams.
    Short(Name, Option<Way>, Endpoint),
    /// A table.
    Table(Box<ServiceTable>),
}

/// A `[[service]]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTable {
    #[serde(deserialize_with = "from_text")]
    name: Option<RoutingName>,
    #[serde(deserialize_with = "from_text")]
    backend: Option<Written>,
    ways: Option<Vec<String>>,
    #[serde(deserialize_with = "from_text")]
    http: Option<Written>,
    #[serde(deserialize_with = "from_text")]
    https: Option<Written>,
    #[serde(deserialize_with = "from_text")]
    tcp: Option<Written>,
    #[serde(deserialize_with = "from_text")]
    connect: Option<Written>,
    #[serde(deserialize_with = "from_text")]
    udp: Option<Written>,
    #[serde(deserialize_with = "from_text")]
    proxy_protocol: Option<Version>,
    health: Option<HealthTable>,
    forwarded: Option<bool>,
    h2c: Option<bool>,
    #[serde(deserialize_with = "from_texts")]
    allow: Vec<Source>,
}

/// A name, which may be a wildcard.
#[derive(Debug, Clone, PartialEq)]
struct RoutingName(Name);

impl FromStr for RoutingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Name::registered(text).map(Self).map_err(|error| error.to_string())
    }
}

/// A backend: `HOST:PORT`, or `udp://HOST:PORT`.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    /// It was said to speak UDP.
    is_udp: bool,
    endpoint: Endpoint,
}

impl FromStr for Written {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let udp = text.strip_prefix("udp://");
        Ok(Self { is_udp: udp.is_some(), endpoint: udp.unwrap_or(text).parse()? })
    }
}

impl Written {
    /// The backend of `name` for `way`.
    fn for_way(self, name: &Name, way: Way) -> Result<Endpoint, String> {
        match self.is_udp && way != Way::Udp {
            true => Err(format!(
                "{name}: udp://{} takes datagrams only, not {way}: write {way} = \"HOST:PORT\" for \
                 what speaks TCP, and udp = \"udp://HOST:PORT\" beside it",
                self.endpoint
            )),
            false => Ok(self.endpoint),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Version(ProxyVersion);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = ProxyVersion::from_word(text);
        version.map(Self).ok_or_else(|| "expected \"v1\" or \"v2\"".to_owned())
    }
}

impl ServiceEntry {
    /// The name that it is about, if it has one.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Short(name, ..) => Some(name),
            Self::Table(table) => table.name.as_ref().map(|RoutingName(name)| name),
        }
    }
}

impl FromStr for ServiceEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected NAME=HOST:PORT, such as app.example=127.0.0.1:8080, \
                                or NAME/WAY=HOST:PORT";
        let (name, backend) = text.split_once('=').ok_or(EXPECTED)?;
        let (name, way) = match name.split_once('/') {
            Some((name, way)) => {
                (name, Some(way.parse().map_err(|error: BadWay| error.to_string())?))
            }
            None => (name, None),
        };
        let RoutingName(name) = name.parse()?;
        let backend: Written = backend.parse().map_err(|error| format!("{error}"))?;
        let way = way.or(backend.is_udp.then_some(Way::Udp));
        let backend = match way {
            Some(way) => backend.for_way(&name, way)?,
            None => backend.endpoint,
        };
        Ok(Self::Short(name, way, backend))
    }
}

/// A list whose elements are texts or tables.
pub(super) fn entries<'de, D>(deserializer: D) -> Result<Vec<ServiceEntry>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<ServiceEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of NAME=HOST:PORT, or [[service]] tables")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_seq(Entries)
}

impl<'de> Deserialize<'de> for ServiceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = ServiceEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("NAME=HOST:PORT, or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServiceEntry, E> {
                text.parse().map_err(|error| E::custom(format_args!("{text:?}: {error}")))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ServiceEntry, A::Error> {
                let table = ServiceTable::deserialize(MapAccessDeserializer::new(table))?;
                Ok(ServiceEntry::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// All services of a list, by name.
///
/// # Errors
/// What is wrong with the first that cannot be meant.
pub(super) fn services(list: Vec<ServiceEntry>) -> Result<BTreeMap<Name, Service>, ConfigError> {
    let refuse = |problem: String| ConfigError::new("service", problem);
    let mut services: BTreeMap<Name, Service> = BTreeMap::new();
    // Short forms of one name make one service; a table stands alone.
    let mut short: BTreeMap<Name, (Option<Endpoint>, BTreeMap<Way, Endpoint>)> = BTreeMap::new();
    for entry in list {
        match entry {
            ServiceEntry::Short(name, way, backend) => {
                let (common, own) = short.entry(name.clone()).or_default();
                let before = match way {
                    Some(way) => own.insert(way, backend),
                    None => common.replace(backend),
                };
                if before.is_some() {
                    let way = way.map_or_else(String::new, |way| format!("/{way}"));
                    return Err(refuse(format!("{name}{way} is listed twice")));
                }
            }
            ServiceEntry::Table(table) => {
                let (name, service) = table.service().map_err(refuse)?;
                if services.insert(name.clone(), service).is_some() {
                    return Err(refuse(format!("{name} is listed twice")));
                }
            }
        }
    }
    for (name, (backend, own)) in short {
        let usual = if backend.is_some() { Ways::USUAL } else { Ways::NONE };
        let ways = own.keys().copied().fold(usual, Ways::with);
        let terms = Terms { ways, ..Terms::default() };
        let service = Service { backend, own, terms, ..Service::default() };
        if services.insert(name.clone(), service).is_some() {
            return Err(refuse(format!("{name} is listed twice")));
        }
    }
    Ok(services)
}

impl ServiceTable {
    fn service(self) -> Result<(Name, Service), String> {
        let Some(RoutingName(name)) = self.name else {
            return Err("a [[service]] table needs a name".to_owned());
        };
        let own = [
            (Way::Http, self.http),
            (Way::Https, self.https),
            (Way::Tcp, self.tcp),
            (Way::Connect, self.connect),
            (Way::Udp, self.udp),
        ];
        let mut own = own
            .into_iter()
            .filter_map(|(way, backend)| Some((way, backend?)))
            .map(|(way, backend)| Ok((way, backend.for_way(&name, way)?)))
            .collect::<Result<BTreeMap<Way, Endpoint>, String>>()?;
        let common = match self.backend {
            // What is said to take datagrams is the backend for them, and for nothing else.
            Some(Written { is_udp: true, endpoint }) => {
                if own.insert(Way::Udp, endpoint).is_some() {
                    return Err(format!("{name} has two backends for udp: leave one out"));
                }
                None
            }
            backend => backend.map(|backend| backend.endpoint),
        };
        let ways = match self.ways {
            Some(ways) => ways.iter().map(|way| way.parse()).collect::<Result<Ways, BadWay>>(),
            None => {
                let usual = if common.is_some() { Ways::USUAL } else { Ways::NONE };
                Ok(own.keys().copied().fold(usual, Ways::with))
            }
        };
        let ways = ways.map_err(|error| format!("{name}: {error}"))?;
        if ways.is_empty() {
            return Err(format!("{name} has no backend: set backend, or one for a way"));
        }
        if let Some(way) = own.keys().find(|way| !ways.contains(**way)) {
            return Err(format!("{name} has a backend for {way}, but {way} is not in its ways"));
        }
        let lacks = |way: &Way| match way {
            Way::Udp => !own.contains_key(way),
            _ => common.is_none() && !own.contains_key(way),
        };
        match ways.iter().find(lacks) {
            Some(Way::Udp) => {
                let problem = "has no backend for udp: set udp = \"udp://HOST:PORT\"; \
                               another backend is not taken to speak UDP";
                return Err(format!("{name} {problem}"));
            }
            Some(way) => {
                return Err(format!("{name} has no backend for {way}: set backend, or {way}"));
            }
            None => {}
        }
        if self.proxy_protocol.is_some() && ways.contains(Way::Udp) {
            let problem = "proxy_protocol begins a connection, and datagrams have none: \
                           leave it out, or take udp out of the ways";
            return Err(format!("{name}: {problem}"));
        }
        let allow: Box<[IpNet]> = self.allow.into_iter().map(|Source(net)| net).collect();
        if allow.len() > ALLOWED_SOURCES {
            return Err(format!("{name} allows more than {ALLOWED_SOURCES} networks"));
        }
        let usual = Terms::default();
        let terms = Terms {
            ways,
            allow,
            forwarded: self.forwarded.unwrap_or(usual.forwarded),
            h2c: self.h2c.unwrap_or(usual.h2c),
            ..usual
        };
        let proxy_protocol = self.proxy_protocol.map(|Version(version)| version);
        let health = self.health.map(HealthTable::health).transpose();
        let health = health.map_err(|problem| format!("{name}: {problem}"))?;
        Ok((name, Service { backend: common, own, proxy_protocol, terms, health }))
    }
}
