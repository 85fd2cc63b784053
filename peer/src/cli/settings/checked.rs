//! From what was set to a checked configuration, with a default for all else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::flags::Settings;
use super::service::services;
use super::values::{Admin, OtlpUrl, Share, Source};
use super::via::{ProxyVariables, proxies};
use crate::config::{Capacity, ConfigError, Namespace, PeerConfig, Timing, TlsConfig, TokenSource};
use crate::limits::{
    CONNECTIONS, CONNECTIONS_PER_SOURCE, IDLE_DATA, NAMES_PER_LINK, PEER_ID_BYTES,
    PENDING_PER_LINK, UDP_REQUESTS,
};
use crate::names::PeerId;
use crate::offer::Ways;
use crate::trust::Token;

/// Where the admin pages are served unless told otherwise.
pub(in crate::cli) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

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
    /// `HTTPS_PROXY` and the like.
    pub proxies: ProxyVariables,
    /// Tells apart the peers of one host.
    pub random: [u8; 4],
    /// What the process is called that this one takes over from.
    pub predecessor: Option<PeerId>,
}

impl Settings {
    /// The checked configuration, with a default for what is set nowhere. Log
    /// format and level are not the peer's business: read them before.
    ///
    /// # Errors
    /// The first key at fault, and what is wrong with it.
    pub fn into_config(self, surroundings: Surroundings) -> Result<PeerConfig, ConfigError> {
        let timing = self.timing();
        check_otlp(self.otlp.as_ref(), self.otlp_sample)?;
        let token = token(self.token_file, surroundings.token.as_deref())?;
        let services = services(self.service)?;
        let host = Some(surroundings.host.clone());
        let unless_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let unknown = || "unknown".to_owned();
        let config = PeerConfig {
            peer_id: own_id(self.peer_id, self.instance.as_deref(), &surroundings)?,
            node: unless_empty(surroundings.node).unwrap_or_else(unknown),
            pod: unless_empty(surroundings.pod)
                .or_else(|| unless_empty(host))
                .unwrap_or_else(unknown),
            listen: self.listen,
            tcp: self.tcp,
            udp: self.udp,
            proxies: proxies(self.via, &surroundings.proxies, !self.connect.is_empty())?,
            connect: self.connect,
            services,
            kubernetes: kubernetes(self.kubernetes)?,
            transit: self.transit,
            reach: self.reach,
            expect: self.expect,
            ways: match self.ways.is_empty() {
                true => Ways::ALL,
                false => self.ways.into_iter().collect(),
            },
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
            public_cert: self.public_cert,
            redirect_https: self.redirect_https.unwrap_or(false),
            idle_data: self.idle_data.unwrap_or(IDLE_DATA),
            capacity: Capacity {
                connections: self.max_connections.unwrap_or(CONNECTIONS),
                connections_per_source: self
                    .max_connections_per_source
                    .unwrap_or(CONNECTIONS_PER_SOURCE),
                names_per_peer: self.max_names_per_peer.unwrap_or(NAMES_PER_LINK),
                pending_per_peer: self.max_pending_per_peer.unwrap_or(PENDING_PER_LINK),
                udp_requests: self.max_udp_requests.unwrap_or(UDP_REQUESTS),
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
            hold: set(self.hold, default.hold),
            warm_up: set(self.warm_up, default.warm_up),
            udp_idle: set(self.udp_idle, default.udp_idle),
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

/// The id of this process, told apart from the one that it takes over from.
fn own_id(
    id: Option<PeerId>,
    instance: Option<&str>,
    surroundings: &Surroundings,
) -> Result<PeerId, ConfigError> {
    let id = peer_id(id, instance, surroundings)?;
    if surroundings.predecessor.as_ref() != Some(&id) {
        return Ok(id);
    }
    let too_long = "it is too long for an upgrade, in which two processes run side by side";
    id.beside().map_err(|_| ConfigError::new("peer_id", too_long))
}

/// The id of this process, and its instance where that is told apart.
fn peer_id(
    id: Option<PeerId>,
    instance: Option<&str>,
    surroundings: &Surroundings,
) -> Result<PeerId, ConfigError> {
    let Some(instance) = instance else {
        return Ok(id.unwrap_or_else(|| surroundings.peer_id()));
    };
    let Some(id) = id else {
        let problem = "set peer_id, too: without it, every process has an id of its own already";
        return Err(ConfigError::new("instance", problem));
    };
    if id.instance().is_some() {
        let problem = format!("peer_id {id} names an instance already; leave out one of the two");
        return Err(ConfigError::new("instance", problem));
    }
    id.with_instance(instance).map_err(|_| {
        let problem = format!(
            "{instance:?} cannot be the instance of {id}: use letters, digits, '-', '_' and '.', \
             no more than {PEER_ID_BYTES} together with the peer id"
        );
        ConfigError::new("instance", problem)
    })
}

/// The namespaces to be watched, by a build that can.
fn check_otlp(url: Option<&OtlpUrl>, share: Option<Share>) -> Result<(), ConfigError> {
    if url.is_some() && !cfg!(feature = "otlp") {
        let problem = "this build sends no spans; build with --features otlp";
        return Err(ConfigError::new("otlp", problem));
    }
    if url.is_none() && share.is_some_and(|Share(share)| share < 1.0) {
        let problem = "set otlp, too: without it, no spans are sent";
        return Err(ConfigError::new("otlp_sample", problem));
    }
    Ok(())
}

fn kubernetes(namespaces: Vec<Namespace>) -> Result<BTreeSet<Namespace>, ConfigError> {
    if !namespaces.is_empty() && !cfg!(feature = "kubernetes") {
        let problem = "this build has no Kubernetes support; build with --features kubernetes";
        return Err(ConfigError::new("kubernetes", problem));
    }
    Ok(namespaces.into_iter().collect())
}

/// The token of this peer: from its file, or from the environment.
fn token(file: Option<PathBuf>, given: Option<&str>) -> Result<Option<TokenSource>, ConfigError> {
    match (file, given.filter(|text| !text.is_empty())) {
        (Some(_), Some(_)) => {
            Err(ConfigError::new("token_file", "OPS_PROXY_TOKEN is set, too: use one or the other"))
        }
        (Some(path), None) => Ok(Some(TokenSource::File(path))),
        (None, Some(text)) => Token::new(text.as_bytes())
            .map(|token| Some(TokenSource::Given(token)))
            .map_err(|error| ConfigError::new("OPS_PROXY_TOKEN", error)),
        (None, None) => Ok(None),
    }
}
