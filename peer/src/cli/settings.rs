//! What the operator said: flags, environment and file, merged into one
//! [`PeerConfig`].
//!
//! Each setting is one field of [`Settings`], and so one flag, one environment
//! variable (`OPS_PROXY_` and the flag) and one key of the TOML file (the flag
//! with `_` for `-`), all with the same textual form. Flags win over the
//! environment, the environment over the file; a list is taken whole from the
//! first that has it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use tracing::level_filters::LevelFilter;

use crate::admission::Capacity;
use crate::auth::Token;
use crate::config::{ConfigError, Endpoint, PeerConfig, Service, TcpMapping, Timing};
use crate::limits::{
    CONNECTIONS, CONNECTIONS_PER_SOURCE, IDLE_DATA, NAMES_PER_LINK, PENDING_PER_LINK,
};
use crate::names::PeerId;
use crate::tls::{TlsConfig, TokenSource};

/// Where the admin pages are served unless told otherwise.
pub(super) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// Key names at least this alike are suggested for an unknown one.
const SUGGEST_FROM: f64 = 0.75;

/// Everything that can be set, each thing possibly unset.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// IP:PORT where public traffic and connecting peers arrive
    #[arg(long, env = "OPS_PROXY_LISTEN", value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub listen: Option<SocketAddr>,

    /// Route every connection to this IP:PORT to this name, bytes untouched (a list)
    #[arg(long, env = "OPS_PROXY_TCP", value_name = "ADDR=NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub tcp: Vec<TcpMapping>,

    /// A listening peer to register this peer's services with (a list)
    #[arg(long, env = "OPS_PROXY_CONNECT", value_name = "HOST:PORT", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub connect: Vec<Endpoint>,

    /// A name that this peer serves, and the backend that it dials for it (a list)
    #[arg(long, env = "OPS_PROXY_SERVICE", value_name = "NAME=HOST:PORT", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub service: Vec<Service>,

    /// IP:PORT of metrics, probes and the status page, or `none` [default: 127.0.0.1:9090]
    #[arg(long, env = "OPS_PROXY_ADMIN", value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub admin: Option<Admin>,

    /// What this peer calls itself; set it in production, so that a peer that comes back replaces its old link at once [default: host name and 8 random hex digits]
    #[arg(long, env = "OPS_PROXY_PEER_ID", value_name = "ID")]
    #[serde(deserialize_with = "from_text")]
    pub peer_id: Option<PeerId>,

    /// Sources that must send a PROXY protocol header; from all others it is refused (a list)
    #[arg(long, env = "OPS_PROXY_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub trusted_proxies: Vec<Source>,

    /// How long a request waits for its DATA connection [default: 5s]
    #[arg(long, env = "OPS_PROXY_DATA_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub data_timeout: Option<humantime::Duration>,

    /// How often names are registered anew; shorter than the peer timeout [default: 10s]
    #[arg(long, env = "OPS_PROXY_HEARTBEAT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub heartbeat: Option<humantime::Duration>,

    /// A link on which nothing arrived for this long is dead [default: 30s]
    #[arg(long, env = "OPS_PROXY_PEER_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub peer_timeout: Option<humantime::Duration>,

    /// After the first signal, new connections are still accepted for this long [default: 5s]
    #[arg(long, env = "OPS_PROXY_DRAIN_GRACE", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub drain_grace: Option<humantime::Duration>,

    /// After the grace, running requests may last this long [default: 30s]
    #[arg(long, env = "OPS_PROXY_DRAIN_LIMIT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub drain_limit: Option<humantime::Duration>,

    /// A name is remembered for this long after its last provider left [default: 10m]
    #[arg(long, env = "OPS_PROXY_NAME_RETENTION", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub name_retention: Option<humantime::Duration>,

    /// This peer's certificate chain, PEM; with it, peers speak TLS 1.3
    #[arg(long, env = "OPS_PROXY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate, PEM
    #[arg(long, env = "OPS_PROXY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// The CA certificates that verify the other side, PEM; with it, listening peers are dialled with TLS
    #[arg(long, env = "OPS_PROXY_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Certificate revocation lists of that CA, PEM
    #[arg(long, env = "OPS_PROXY_TLS_CRL", value_name = "FILE")]
    pub tls_crl: Option<PathBuf>,

    /// A file with the token shown to listening peers; or the token itself in OPS_PROXY_TOKEN
    #[arg(long, env = "OPS_PROXY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// A TOML file of [[token]] tables (secret, peer, names) that connecting peers may show
    #[arg(long, env = "OPS_PROXY_ACCEPT_TOKENS", value_name = "FILE")]
    pub accept_tokens: Option<PathBuf>,

    /// Public connections served at a time; one more is answered with 503 [default: 50000]
    #[arg(long, env = "OPS_PROXY_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,

    /// Connections from one source (an IPv4 address, an IPv6 /64) at a time; one more is closed [default: 20000]
    #[arg(long, env = "OPS_PROXY_MAX_CONNECTIONS_PER_SOURCE", value_name = "COUNT")]
    pub max_connections_per_source: Option<usize>,

    /// Names that one connecting peer may register; more are refused with too_many_names [default: 10000]
    #[arg(long, env = "OPS_PROXY_MAX_NAMES_PER_PEER", value_name = "COUNT")]
    pub max_names_per_peer: Option<usize>,

    /// Requests that may wait for DATA connections of one peer; one more is answered with 503 [default: 1024]
    #[arg(long, env = "OPS_PROXY_MAX_PENDING_PER_PEER", value_name = "COUNT")]
    pub max_pending_per_peer: Option<usize>,

    /// Idle DATA connections kept open to a listening peer at most, so that requests need not wait for one; 0 keeps none [default: 64]
    #[arg(long, env = "OPS_PROXY_IDLE_DATA", value_name = "COUNT")]
    pub idle_data: Option<usize>,

    /// Let links between peers leave this machine although they are not encrypted [default: false]
    #[arg(
        long,
        env = "OPS_PROXY_INSECURE_PLAINTEXT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub insecure_plaintext: Option<bool>,

    /// What a log line looks like: `text` or `json` [default: text]
    #[arg(long, env = "OPS_PROXY_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(deserialize_with = "from_text")]
    pub log_format: Option<LogFormat>,

    /// The least level that is logged: `error`, `warn`, `info`, `debug`, `trace`, or `off` [default: info]
    #[arg(long, env = "OPS_PROXY_LOG_LEVEL", value_name = "LEVEL")]
    #[serde(deserialize_with = "from_text")]
    pub log_level: Option<LevelFilter>,
}

/// What the machine says about itself, where the operator said nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The host name; may be empty.
    pub host: String,
    /// `NODE_NAME`.
    pub node: Option<String>,
    /// `POD_NAME`.
    pub pod: Option<String>,
    /// `OPS_PROXY_TOKEN`.
    pub token: Option<String>,
    /// Tells apart the peers of one host.
    pub random: [u8; 4],
}

impl Settings {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// The key at fault with its line, and for an unknown key the nearest known
    /// one. A text that is no TOML at all is the fault of the key `config`.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let line = |offset: usize| text[..offset].matches('\n').count() + 1;
        let at_line = |span: Option<std::ops::Range<usize>>| match span {
            Some(span) => format!(" (line {})", line(span.start)),
            None => String::new(),
        };
        let table = DeTable::parse(text).map_err(|error| {
            let problem = format!("{}{}", error.message(), at_line(error.span()));
            ConfigError::new("config", problem)
        })?;
        let known = keys();
        let unknown = table
            .get_ref()
            .keys()
            .filter(|key| !known.iter().any(|known| known == key.get_ref()))
            .min_by_key(|key| key.span().start);
        if let Some(key) = unknown {
            let name = key.get_ref().as_ref();
            let line = line(key.span().start);
            let problem = format!("unknown key (line {line}){}", nearest(name, &known));
            return Err(ConfigError::new(name, problem));
        }
        Self::deserialize(toml::Deserializer::from(table.clone())).map_err(|error| {
            // Spans do not tell whose error it is: that of a table is its header.
            let fails_alone = |(key, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                let alone = DeTable::from_iter([((*key).clone(), (*value).clone())]);
                let alone = Spanned::new(table.span(), alone);
                Self::deserialize(toml::Deserializer::from(alone)).is_err()
            };
            let entry = table.get_ref().iter().find(fails_alone);
            let key = entry.map_or("config", |(key, _)| key.get_ref());
            ConfigError::new(key, format!("{}{}", error.message(), at_line(error.span())))
        })
    }

    /// What is set here, and for the rest what is set in `file`.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        fn list<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
            if first.is_empty() { second } else { first }
        }
        Self {
            listen: self.listen.or(file.listen),
            tcp: list(self.tcp, file.tcp),
            connect: list(self.connect, file.connect),
            service: list(self.service, file.service),
            admin: self.admin.or(file.admin),
            peer_id: self.peer_id.or(file.peer_id),
            trusted_proxies: list(self.trusted_proxies, file.trusted_proxies),
            data_timeout: self.data_timeout.or(file.data_timeout),
            heartbeat: self.heartbeat.or(file.heartbeat),
            peer_timeout: self.peer_timeout.or(file.peer_timeout),
            drain_grace: self.drain_grace.or(file.drain_grace),
            drain_limit: self.drain_limit.or(file.drain_limit),
            name_retention: self.name_retention.or(file.name_retention),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            tls_ca: self.tls_ca.or(file.tls_ca),
            tls_crl: self.tls_crl.or(file.tls_crl),
            token_file: self.token_file.or(file.token_file),
            accept_tokens: self.accept_tokens.or(file.accept_tokens),
            max_connections: self.max_connections.or(file.max_connections),
            max_connections_per_source: self
                .max_connections_per_source
                .or(file.max_connections_per_source),
            max_names_per_peer: self.max_names_per_peer.or(file.max_names_per_peer),
            max_pending_per_peer: self.max_pending_per_peer.or(file.max_pending_per_peer),
            idle_data: self.idle_data.or(file.idle_data),
            insecure_plaintext: self.insecure_plaintext.or(file.insecure_plaintext),
            log_format: self.log_format.or(file.log_format),
            log_level: self.log_level.or(file.log_level),
        }
    }

    /// The checked configuration, with a default for what is set nowhere. Log
    /// format and level are not the peer's business: read them before.
    ///
    /// # Errors
    /// The first key at fault, and what is wrong with it.
    pub fn into_config(self, surroundings: Surroundings) -> Result<PeerConfig, ConfigError> {
        let timing = self.timing();
        let token = token(self.token_file, surroundings.token.as_deref())?;
        let mut services = BTreeMap::new();
        for Service { name, backend } in self.service {
            if services.insert(name.clone(), backend).is_some() {
                return Err(ConfigError::new("service", format!("{name} is served twice")));
            }
        }
        let host = Some(surroundings.host.clone());
        let unless_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let unknown = || "unknown".to_owned();
        let config = PeerConfig {
            peer_id: self.peer_id.unwrap_or_else(|| surroundings.peer_id()),
            node: unless_empty(surroundings.node).unwrap_or_else(unknown),
            pod: unless_empty(surroundings.pod)
                .or_else(|| unless_empty(host))
                .unwrap_or_else(unknown),
            listen: self.listen,
            tcp: self.tcp,
            connect: self.connect,
            services,
            admin: self.admin.map_or(Some(DEFAULT_ADMIN), |Admin(addr)| addr),
            trusted_proxies: self.trusted_proxies.into_iter().map(|Source(net)| net).collect(),
            insecure_plaintext: self.insecure_plaintext.unwrap_or(false),
            tls: TlsConfig {
                cert: self.tls_cert,
                key: self.tls_key,
                ca: self.tls_ca,
                crl: self.tls_crl,
                token,
                accept_tokens: self.accept_tokens,
            },
            idle_data: self.idle_data.unwrap_or(IDLE_DATA),
            capacity: Capacity {
                connections: self.max_connections.unwrap_or(CONNECTIONS),
                connections_per_source: self
                    .max_connections_per_source
                    .unwrap_or(CONNECTIONS_PER_SOURCE),
                names_per_peer: self.max_names_per_peer.unwrap_or(NAMES_PER_LINK),
                pending_per_peer: self.max_pending_per_peer.unwrap_or(PENDING_PER_LINK),
            },
            timing,
        };
        config.check()?;
        Ok(config)
    }

    fn timing(&self) -> Timing {
        let default = Timing::default();
        let set = |time: Option<humantime::Duration>, default: Duration| {
            time.map_or(default, Duration::from)
        };
        Timing {
            data_timeout: set(self.data_timeout, default.data_timeout),
            heartbeat: set(self.heartbeat, default.heartbeat),
            peer_timeout: set(self.peer_timeout, default.peer_timeout),
            drain_grace: set(self.drain_grace, default.drain_grace),
            drain_limit: set(self.drain_limit, default.drain_limit),
            name_retention: set(self.name_retention, default.name_retention),
        }
    }
}

impl Surroundings {
    /// The host name, as far as it can stand in a peer id, and the random digits.
    fn peer_id(&self) -> PeerId {
        let plain = |c: &char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(c);
        let host: String = self.host.chars().filter(plain).take(64).collect();
        let host = if host.is_empty() { "peer" } else { &host };
        let suffix = u32::from_be_bytes(self.random);
        format!("{host}-{suffix:08x}").parse().expect("made of the bytes of a peer id only")
    }
}

/// The token of this peer: from its file, or from the environment.
fn token(file: Option<PathBuf>, given: Option<&str>) -> Result<Option<TokenSource>, ConfigError> {
    match (file, given.filter(|text| !text.is_empty())) {
        (Some(_), Some(_)) => {
            Err(ConfigError::new("token_file", "the token is in OPS_PROXY_TOKEN already"))
        }
        (Some(path), None) => Ok(Some(TokenSource::File(path))),
        (None, Some(text)) => Token::new(text.as_bytes())
            .map(|token| Some(TokenSource::Given(token)))
            .map_err(|error| ConfigError::new("OPS_PROXY_TOKEN", error)),
        (None, None) => Ok(None),
    }
}

/// The keys of the file: as the flags, so that neither list can fall behind.
fn keys() -> Vec<String> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new(""));
    command.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

fn nearest(unknown: &str, known: &[String]) -> String {
    let likeness = |key: &&String| strsim::jaro_winkler(unknown, key);
    known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|key| likeness(key) >= SUGGEST_FROM)
        .map_or_else(String::new, |key| format!("; did you mean {key}?"))
}

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
            .map_err(|_| "expected a block such as 10.0.0.0/8, or an address")
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
fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

fn from_texts<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
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

#[cfg(test)]
mod tests;
