//! Every setting, as a flag, an environment variable and a key in the file.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::service::{ServiceEntry, entries};
use super::values::{AccessLog, Admin, LogFormat, OtlpUrl, Share, Source, from_text, from_texts};
use super::via::ViaText;
use crate::config::{Namespace, PortMapping, Upstream};
use crate::names::{Name, NamePattern, PeerId};
use crate::offer::Way;

/// Every setting; each may be unset.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// IP:PORT to listen on for public traffic and connecting peers
    #[arg(long, env = "OPS_PROXY_LISTEN", value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub listen: Option<SocketAddr>,

    /// Route every connection to this IP:PORT to this name, bytes unchanged (a list)
    #[arg(long, env = "OPS_PROXY_TCP", value_name = "ADDR=NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub tcp: Vec<PortMapping>,

    /// Route datagrams to this UDP IP:PORT to this name (a list)
    ///
    /// Those of one client address are one request.
    #[arg(long, env = "OPS_PROXY_UDP", value_name = "ADDR=NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub udp: Vec<PortMapping>,

    /// A listening peer to register this peer's services with (a list)
    ///
    /// One link is kept to each address that HOST resolves to, or with `*N` to N different peers behind one address.
    #[arg(long, env = "OPS_PROXY_CONNECT", value_name = "HOST:PORT[*N]", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub connect: Vec<Upstream>,

    /// A proxy to reach them through, or `none` [default: from HTTPS_PROXY or ALL_PROXY]
    ///
    /// http://[USER:PASSWORD@]HOST[:PORT] or socks5://…; never for hosts in NO_PROXY. A password on the command line can be seen by others on this machine: put it into the file or the variable.
    #[arg(long, env = "OPS_PROXY_VIA", value_name = "URL", hide_env_values = true)]
    #[serde(deserialize_with = "from_text")]
    pub via: Option<ViaText>,

    /// A name this peer serves, and the backend it dials for that name (a list)
    ///
    /// NAME/WAY=HOST:PORT gives one way (http, https, tcp, connect, udp) a backend of its own; CONNECT and UDP are refused unless named so. In the file, a [[service]] table can say more.
    #[arg(long, env = "OPS_PROXY_SERVICE", value_name = "NAME=HOST:PORT", value_delimiter = ',')]
    #[serde(deserialize_with = "entries")]
    pub service: Vec<ServiceEntry>,

    /// A namespace of Kubernetes whose annotated Services this peer also serves (a list)
    ///
    /// Those with the annotation ops-proxy.dev/name, as they come and go. Needs a build with the feature `kubernetes`.
    #[arg(long, env = "OPS_PROXY_KUBERNETES", value_name = "NAMESPACE", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub kubernetes: Vec<Namespace>,

    /// Pass on the names that others register here to the peers in --connect (a list)
    ///
    /// A name, a wildcard, or `*` for all. The certificate or token of this peer must permit them there.
    #[arg(long, env = "OPS_PROXY_TRANSIT", value_name = "PATTERN", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub transit: Vec<NamePattern>,

    /// Ask the peers in --connect for this name when nobody nearer serves it (a list)
    ///
    /// Or for the names that this wildcard covers, when clients here want them. The certificate or token of this peer must permit that there: `pki issue --reach`, or `reach` in the token's rule.
    #[arg(long, env = "OPS_PROXY_REACH", value_name = "NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub reach: Vec<Name>,

    /// A name that others register here, to be waited for after a start (a list)
    ///
    /// Until all of these are there, this peer is not ready, and requests for them wait instead of failing.
    #[arg(long, env = "OPS_PROXY_EXPECT", value_name = "NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub expect: Vec<Name>,

    /// The ways in which clients may reach any name here (a list) [default: all]
    ///
    /// `http`, `https`, `tcp`, `connect`, `udp`. Services may allow fewer, never more.
    #[arg(long, env = "OPS_PROXY_WAYS", value_name = "WAY", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub ways: Vec<Way>,

    /// IP:PORT for metrics, probes and the status page, or `none` [default: 127.0.0.1:9090]
    #[arg(long, env = "OPS_PROXY_ADMIN", value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub admin: Option<Admin>,

    /// This peer's id [default: host name and 8 random hex digits]
    ///
    /// Set it in production, so that a restarted peer replaces its old link at once.
    #[arg(long, env = "OPS_PROXY_PEER_ID", value_name = "ID")]
    #[serde(deserialize_with = "from_text")]
    pub peer_id: Option<PeerId>,

    /// Tells this process apart from others with the same peer id
    ///
    /// For the replicas of a site, for example. It makes the id ID/INSTANCE.
    #[arg(long, env = "OPS_PROXY_INSTANCE", value_name = "INSTANCE")]
    #[serde(deserialize_with = "from_text")]
    pub instance: Option<String>,

    /// Sources that must send a PROXY protocol header (a list)
    ///
    /// From any other source it is refused.
    #[arg(long, env = "OPS_PROXY_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    #[serde(deserialize_with = "from_texts")]
    pub trusted_proxies: Vec<Source>,

    /// How long a request waits for its DATA connection [default: 5s]
    #[arg(long, env = "OPS_PROXY_DATA_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub data_timeout: Option<humantime::Duration>,

    /// How often names are registered again [default: 10s]
    ///
    /// Must be shorter than the peer timeout.
    #[arg(long, env = "OPS_PROXY_HEARTBEAT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub heartbeat: Option<humantime::Duration>,

    /// How long a link may receive nothing before it is dead [default: 30s]
    #[arg(long, env = "OPS_PROXY_PEER_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub peer_timeout: Option<humantime::Duration>,

    /// How long new connections are accepted after the first signal [default: 5s]
    #[arg(long, env = "OPS_PROXY_DRAIN_GRACE", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub drain_grace: Option<humantime::Duration>,

    /// How long running requests may take after the drain grace [default: 30s]
    #[arg(long, env = "OPS_PROXY_DRAIN_LIMIT", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub drain_limit: Option<humantime::Duration>,

    /// How long a name is remembered after its last provider leaves [default: 10m]
    #[arg(long, env = "OPS_PROXY_NAME_RETENTION", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub name_retention: Option<humantime::Duration>,

    /// How long requests wait for a lost provider to come back [default: 0s]
    ///
    /// For the only provider of their name, from the moment it was lost. 0s answers 503 at once.
    #[arg(long, env = "OPS_PROXY_HOLD", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub hold: Option<humantime::Duration>,

    /// How long this peer waits for the names that it expects [default: 10s]
    ///
    /// After its start, for those in --expect and those in --state-dir. Then it is ready without them.
    #[arg(long, env = "OPS_PROXY_WARM_UP", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub warm_up: Option<humantime::Duration>,

    /// A directory in which this peer keeps the names that others register here
    ///
    /// After a restart it waits for them instead of answering 404.
    #[arg(long, env = "OPS_PROXY_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// How long a request over UDP lives on without a datagram [default: 30s]
    ///
    /// Either way.
    #[arg(long, env = "OPS_PROXY_UDP_IDLE", value_name = "TIME")]
    #[serde(deserialize_with = "from_text")]
    pub udp_idle: Option<humantime::Duration>,

    /// This peer's certificate chain (PEM)
    ///
    /// With it, peers speak TLS 1.3.
    #[arg(long, env = "OPS_PROXY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of that certificate (PEM)
    #[arg(long, env = "OPS_PROXY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// CA certificates that verify other peers (PEM)
    ///
    /// With them, this peer dials listening peers over TLS.
    #[arg(long, env = "OPS_PROXY_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Certificate revocation lists from that CA (PEM)
    #[arg(long, env = "OPS_PROXY_TLS_CRL", value_name = "FILE")]
    pub tls_crl: Option<PathBuf>,

    /// A directory of certificates; public TLS for their names ends here
    ///
    /// NAME.pem with NAME.key, or subdirectories with tls.crt and tls.key.
    #[arg(long, env = "OPS_PROXY_PUBLIC_CERT", value_name = "DIR")]
    pub public_cert: Option<PathBuf>,

    /// Redirect clear-text HTTP for the names in public_cert to HTTPS [default: false]
    #[arg(
        long,
        env = "OPS_PROXY_REDIRECT_HTTPS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub redirect_https: Option<bool>,

    /// A file with the token for listening peers
    ///
    /// Or put the token itself into OPS_PROXY_TOKEN.
    #[arg(long, env = "OPS_PROXY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// A TOML file of the tokens accepted from connecting peers
    ///
    /// It holds [[token]] tables: secret, peer, names.
    #[arg(long, env = "OPS_PROXY_ACCEPT_TOKENS", value_name = "FILE")]
    pub accept_tokens: Option<PathBuf>,

    /// Public connections served at a time; any more get a 503 [default: 50000]
    #[arg(long, env = "OPS_PROXY_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,

    /// Connections at a time from one source; any more are closed [default: 20000]
    ///
    /// A source is an IPv4 address or an IPv6 /64.
    #[arg(long, env = "OPS_PROXY_MAX_CONNECTIONS_PER_SOURCE", value_name = "COUNT")]
    pub max_connections_per_source: Option<usize>,

    /// Names one connecting peer may register [default: 10000]
    ///
    /// Any more are refused with too_many_names.
    #[arg(long, env = "OPS_PROXY_MAX_NAMES_PER_PEER", value_name = "COUNT")]
    pub max_names_per_peer: Option<usize>,

    /// Requests that may wait for DATA connections from one peer [default: 1024]
    ///
    /// Any more get a 503.
    #[arg(long, env = "OPS_PROXY_MAX_PENDING_PER_PEER", value_name = "COUNT")]
    pub max_pending_per_peer: Option<usize>,

    /// Requests at a time over each UDP port [default: 10000]
    ///
    /// A fifth of them from one source. Any more end the longest idle of the source that has the most.
    #[arg(long, env = "OPS_PROXY_MAX_UDP_REQUESTS", value_name = "COUNT")]
    pub max_udp_requests: Option<usize>,

    /// Most idle DATA connections kept open to listening peers, in all [default: 64]
    ///
    /// Thanks to them, requests need not wait for one. 0 keeps none.
    #[arg(long, env = "OPS_PROXY_IDLE_DATA", value_name = "COUNT")]
    pub idle_data: Option<usize>,

    /// Threads that serve connections [default: one per core]
    ///
    /// A connection stays on one of them.
    #[arg(long, env = "OPS_PROXY_WORKERS", value_name = "COUNT")]
    pub workers: Option<NonZero<u16>>,

    /// Allow unencrypted links to and from peers on other machines [default: false]
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

    /// Format of log lines: `text` or `json` [default: text]
    #[arg(long, env = "OPS_PROXY_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(deserialize_with = "from_text")]
    pub log_format: Option<LogFormat>,

    /// Log each request to stderr, as `text` or `json` [default: off]
    ///
    /// Off by default, because it costs CPU per request.
    #[arg(long, env = "OPS_PROXY_ACCESS_LOG", value_name = "FORMAT")]
    #[serde(deserialize_with = "from_text")]
    pub access_log: Option<AccessLog>,

    /// Keep the query of the path in the access log [default: false]
    ///
    /// It may hold secrets.
    #[arg(
        long,
        env = "OPS_PROXY_ACCESS_LOG_QUERY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub access_log_query: Option<bool>,

    /// Send a span of each request to this OpenTelemetry collector, by OTLP over HTTP
    ///
    /// Such as http://127.0.0.1:4318; /v1/traces is added where there is no path. A trace that a client or
    /// another peer began goes on.
    #[arg(long, env = "OPS_PROXY_OTLP", value_name = "URL")]
    #[serde(deserialize_with = "from_text")]
    pub otlp: Option<OtlpUrl>,

    /// Share of the traces that begin here to record, from 0 to 1 [default: 1]
    ///
    /// Traces that a client or another peer began are recorded as that one says.
    #[arg(long, env = "OPS_PROXY_OTLP_SAMPLE", value_name = "RATIO")]
    pub otlp_sample: Option<Share>,

    /// Least severe level to log [default: info]
    ///
    /// `error`, `warn`, `info`, `debug`, `trace`, or `off`.
    #[arg(long, env = "OPS_PROXY_LOG_LEVEL", value_name = "LEVEL")]
    #[serde(deserialize_with = "from_text")]
    pub log_level: Option<LevelFilter>,
}

impl Settings {
    /// The settings that are none of the peer's and differ in `new`, but cannot change in a
    /// running process.
    pub fn fixed_for_the_process(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("workers", self.workers != new.workers),
            ("log_format", self.log_format != new.log_format),
            ("access_log", self.access_log != new.access_log),
            ("access_log_query", self.access_log_query != new.access_log_query),
            ("otlp", self.otlp != new.otlp),
            ("otlp_sample", self.otlp_sample != new.otlp_sample),
            ("state_dir", self.state_dir != new.state_dir),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// These settings, with those of `file` for whatever is unset here.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        fn list<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
            if first.is_empty() { second } else { first }
        }
        Self {
            listen: self.listen.or(file.listen),
            tcp: list(self.tcp, file.tcp),
            udp: list(self.udp, file.udp),
            connect: list(self.connect, file.connect),
            via: self.via.or(file.via),
            service: list(self.service, file.service),
            kubernetes: list(self.kubernetes, file.kubernetes),
            transit: list(self.transit, file.transit),
            reach: list(self.reach, file.reach),
            expect: list(self.expect, file.expect),
            ways: list(self.ways, file.ways),
            admin: self.admin.or(file.admin),
            peer_id: self.peer_id.or(file.peer_id),
            instance: self.instance.or(file.instance),
            trusted_proxies: list(self.trusted_proxies, file.trusted_proxies),
            data_timeout: self.data_timeout.or(file.data_timeout),
            heartbeat: self.heartbeat.or(file.heartbeat),
            peer_timeout: self.peer_timeout.or(file.peer_timeout),
            drain_grace: self.drain_grace.or(file.drain_grace),
            drain_limit: self.drain_limit.or(file.drain_limit),
            name_retention: self.name_retention.or(file.name_retention),
            hold: self.hold.or(file.hold),
            warm_up: self.warm_up.or(file.warm_up),
            state_dir: self.state_dir.or(file.state_dir),
            udp_idle: self.udp_idle.or(file.udp_idle),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            tls_ca: self.tls_ca.or(file.tls_ca),
            tls_crl: self.tls_crl.or(file.tls_crl),
            public_cert: self.public_cert.or(file.public_cert),
            redirect_https: self.redirect_https.or(file.redirect_https),
            token_file: self.token_file.or(file.token_file),
            accept_tokens: self.accept_tokens.or(file.accept_tokens),
            max_connections: self.max_connections.or(file.max_connections),
            max_connections_per_source: self
                .max_connections_per_source
                .or(file.max_connections_per_source),
            max_names_per_peer: self.max_names_per_peer.or(file.max_names_per_peer),
            max_pending_per_peer: self.max_pending_per_peer.or(file.max_pending_per_peer),
            max_udp_requests: self.max_udp_requests.or(file.max_udp_requests),
            idle_data: self.idle_data.or(file.idle_data),
            workers: self.workers.or(file.workers),
            insecure_plaintext: self.insecure_plaintext.or(file.insecure_plaintext),
            log_format: self.log_format.or(file.log_format),
            access_log: self.access_log.or(file.access_log),
            access_log_query: self.access_log_query.or(file.access_log_query),
            otlp: self.otlp.or(file.otlp),
            otlp_sample: self.otlp_sample.or(file.otlp_sample),
            log_level: self.log_level.or(file.log_level),
        }
    }
}
