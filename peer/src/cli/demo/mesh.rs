//! The demo's peers, and what runs behind them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::super::failure::Failure;
use super::super::settings::DEFAULT_ADMIN;
use super::loopback::ANY_PORT;
use super::{backends, moved};
use crate::config::{Endpoint, PeerConfig, Service};
use crate::names::Name;
use crate::offer::Ways;
use crate::peer::{Peer, PeerHandle, StartError};
use crate::ports::NotBound;
use crate::stream::net::tokio::TokioNet;

/// Served over HTTP at both sites.
pub(super) const WEB: &str = "web.demo";
/// Served over TLS at site-a.
pub(super) const SECURE: &str = "secure.demo";
/// Served as raw TCP at site-b.
pub(super) const ECHO: &str = "echo.demo";
/// Served nowhere.
pub(super) const NOBODY: &str = "nobody.demo";

/// Anything here takes milliseconds; after this long something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a condition is looked at while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Everything that runs; dropping it ends everything.
pub(super) struct Mesh {
    /// The peer that can be reached.
    pub(super) hub: PeerHandle<TokioNet>,
    /// Where the hub takes public traffic.
    pub(super) public: SocketAddr,
    /// Where the hub takes connections for [`ECHO`].
    pub(super) echo_port: SocketAddr,
    /// Where the hub's admin pages are.
    pub(super) admin: SocketAddr,
    /// Trusts the certificate of [`SECURE`].
    pub(super) tls: Arc<ClientConfig>,
    _tasks: JoinSet<()>,
}

impl Mesh {
    pub(super) async fn start() -> Result<Self, Failure> {
        let mut tasks = JoinSet::new();
        let (server_tls, tls) = self_signed().map_err(|error| Failure::Demo(error.to_string()))?;
        let web_a = backends::http(&mut tasks, "site-a").await?;
        let web_b = backends::http(&mut tasks, "site-b").await?;
        let secure = backends::https(&mut tasks, "site-a", server_tls).await?;
        let echo = backends::echo(&mut tasks, "site-b").await?;

        let hub = start_hub().await?;
        let handle = hub.handle();
        let public = handle.listen_addr().expect("the hub listens");
        let sites = [
            site("site-a", public, [(WEB, web_a), (SECURE, secure)]),
            site("site-b", public, [(WEB, web_b), (ECHO, echo)]),
        ];
        tasks.spawn(run(hub));
        for config in sites {
            tasks.spawn(run(Peer::start(config, TokioNet).await?));
        }
        Ok(Self {
            public,
            echo_port: handle.tcp_addrs()[0],
            admin: handle.admin_addr().expect("the hub has admin pages"),
            hub: handle,
            tls,
            _tasks: tasks,
        })
    }

    /// Returns once both sites have registered all that they serve.
    pub(super) async fn registered(&self) -> Result<(), Failure> {
        let registrations = [(WEB, 2.0), (SECURE, 1.0), (ECHO, 1.0)];
        self.until("the sites to register", |metrics| {
            registrations.iter().all(|(name, count)| {
                let series =
                    format!("ops_proxy_client_registrations_total{{client_name=\"{name}\"}}");
                metrics.get(&series).is_some_and(|value| value >= count)
            })
        })
        .await
    }

    /// Returns once the hub has seen every request end.
    pub(super) async fn quiet(&self) -> Result<(), Failure> {
        self.until("the requests to end", |metrics| {
            let active = |series: &str| series.starts_with("ops_proxy_connections_active{");
            metrics.iter().all(|(series, value)| !active(series) || *value == 0.0)
        })
        .await
    }

    async fn until(&self, what: &str, so: impl Fn(&moved::Series) -> bool) -> Result<(), Failure> {
        let reached = async {
            while !so(&moved::series(&self.hub.metrics_text())) {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .map_err(|_| Failure::Demo(format!("timed out after {PATIENCE:?}, waiting for {what}")))
    }
}

async fn run(peer: Peer<TokioNet>) {
    if let Err(error) = peer.run().await {
        tracing::error!(%error, "a peer of the demo has ended");
    }
}

/// With its admin pages where they usually are, if that address is free.
async fn start_hub() -> Result<Peer<TokioNet>, StartError> {
    let mut config = peer("hub");
    config.listen = Some(ANY_PORT);
    config.tcp.push(crate::config::PortMapping { addr: ANY_PORT, name: name(ECHO) });
    config.admin = Some(DEFAULT_ADMIN);
    match Peer::start(config.clone(), TokioNet).await {
        Err(StartError::Bind(NotBound { key: "admin", .. })) => {
            config.admin = Some(ANY_PORT);
            Peer::start(config, TokioNet).await
        }
        started => started,
    }
}

pub(super) fn site(id: &str, hub: SocketAddr, services: [(&str, SocketAddr); 2]) -> PeerConfig {
    let mut config = peer(id);
    config.connect.push(Endpoint::from(hub).into());
    for (text, backend) in services {
        let mut service = Service::from(Endpoint::from(backend));
        service.terms.ways = Ways::ALL;
        config.services.insert(name(text), service);
    }
    config
}

fn peer(id: &str) -> PeerConfig {
    let mut config = PeerConfig::new(id.parse().expect("the demo's ids are well formed"));
    config.pod = id.to_owned();
    config
}

fn name(text: &str) -> Name {
    Name::registered(text).expect("the demo's names are well formed")
}

/// A server with a new certificate for [`SECURE`], and a client that trusts it.
fn self_signed()
-> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Box<dyn std::error::Error + Send + Sync>> {
    let pair = rcgen::generate_simple_self_signed([SECURE.to_owned()])?;
    let certificate = pair.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}
