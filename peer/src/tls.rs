//! TLS 1.3 between peers: certificates, keys, revocations and tokens from files
//! that are read again when they change.
//!
//! A bad file never replaces a good one: it is counted and logged, and what was
//! loaded before stays.

mod again;
mod load;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::sync::{Notify, watch};
use tokio_rustls::rustls::{self, CommonState};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use again::{Look, Shown, Verdict};
pub use load::Loaded;

use crate::auth::{EXPORTER_LABEL, Proven, Token};
use crate::classify::PEER_ALPN;
use crate::config::{ConfigError, PeerConfig};
use crate::limits::TLS_BUFFER_BYTES;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::transport::{Rewound, Transport};

/// Where the files are. Which of them are needed, [`PeerConfig::check`] says.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The CA certificates that verify the other side, PEM.
    pub ca: Option<PathBuf>,
    /// Certificate revocation lists, PEM.
    pub crl: Option<PathBuf>,
    /// The token that we show to listening peers.
    pub token: Option<TokenSource>,
    /// The tokens that connecting peers may show, TOML.
    pub accept_tokens: Option<PathBuf>,
}

/// Where a token comes from. Never from the command line, which all can read.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A file that holds it.
    File(PathBuf),
    /// The environment.
    Given(Token),
}

impl TlsConfig {
    /// Whether anything is set: then peers speak TLS.
    pub fn is_set(&self) -> bool {
        self.cert.is_some()
            || self.key.is_some()
            || self.ca.is_some()
            || self.crl.is_some()
            || self.token.is_some()
            || self.accept_tokens.is_some()
    }

    /// Every file, with its key in the configuration.
    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let token = match &self.token {
            Some(TokenSource::File(path)) => Some(path),
            Some(TokenSource::Given(_)) | None => None,
        };
        [
            ("tls_cert", self.cert.as_ref()),
            ("tls_key", self.key.as_ref()),
            ("tls_ca", self.ca.as_ref()),
            ("tls_crl", self.crl.as_ref()),
            ("token_file", token),
            ("accept_tokens", self.accept_tokens.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, path)| Some((key, path?)))
    }
}

/// The contents of the files, by their key in the configuration.
type Contents = BTreeMap<&'static str, Vec<u8>>;

/// The TLS of one peer.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<Loaded>>,
    /// What was read last, good or bad, so that each change is tried and counted
    /// once.
    seen: Mutex<Result<Contents, ConfigError>>,
    reload: Notify,
    /// Says so after each look at the files, whether they changed or not.
    looked: watch::Sender<()>,
}

impl Tls {
    /// Reads all files for the first time.
    ///
    /// # Errors
    /// The key of the first file that is missing or of no use.
    pub fn open<N: Net>(
        net: &N,
        config: &PeerConfig,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let (contents, loaded) = load(net, config)?;
        let config = config.tls.clone();
        loaded.expiries().for_each(|(which, at)| metrics.tls_expiry(which, at));
        Ok(Self {
            config,
            current: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(Ok(contents)),
            reload: Notify::new(),
            looked: watch::Sender::new(()),
        })
    }

    /// What is loaded now.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.read().expect("replacing a pointer does not panic").clone()
    }

    /// Has the files looked at now rather than at the next interval.
    pub fn reload_now(&self) {
        self.reload.notify_one();
    }

    /// Returns when somebody asked for a look at the files.
    pub async fn reload_wanted(&self) {
        self.reload.notified().await;
    }

    /// Tells of each look at the files. What was let in by what was loaded before, or
    /// some time ago, is then to be asked again.
    pub fn looks(&self) -> watch::Receiver<()> {
        self.looked.subscribe()
    }

    /// Reads the files again, and loads them if they changed.
    pub fn reload<N: Net>(&self, net: &N, metrics: &Metrics) {
        self.load_changes(net, metrics);
        self.looked.send_replace(());
    }

    fn load_changes<N: Net>(&self, net: &N, metrics: &Metrics) {
        let read = read_all(net, &self.config);
        let mut seen = self.seen.lock().expect("comparing bytes does not panic");
        if read == *seen {
            return;
        }
        // Half a rotation fails too; the next look may be better.
        let built = read.as_ref().map_err(Clone::clone);
        match built.and_then(|contents| Loaded::build(net, &self.config, contents)) {
            Ok(loaded) => {
                loaded.expiries().for_each(|(which, at)| metrics.tls_expiry(which, at));
                *self.current.write().expect("replacing a pointer does not panic") =
                    Arc::new(loaded);
                metrics.tls_reloaded();
                tracing::info!("TLS files loaded anew");
            }
            Err(error) => {
                metrics.tls_reload_failed();
                tracing::warn!(%error, "TLS files are of no use; the old ones stay");
            }
        }
        *seen = read;
    }
}

/// Whether the files that `config` names are there and of use, and its peer id is
/// that of its certificate.
///
/// # Errors
/// The key of the first file that is not, or `peer_id`.
pub fn check_files<N: Net>(net: &N, config: &PeerConfig) -> Result<(), ConfigError> {
    load(net, config).map(drop)
}

fn load<N: Net>(net: &N, config: &PeerConfig) -> Result<(Contents, Loaded), ConfigError> {
    let contents = read_all(net, &config.tls)?;
    let loaded = Loaded::build(net, &config.tls, &contents)?;
    // With a token it is the token that says who a peer is.
    if config.is_connecting() && config.tls.token.is_none() {
        loaded.check_peer_id(&config.peer_id)?;
    }
    Ok((contents, loaded))
}

fn read_all<N: Net>(net: &N, config: &TlsConfig) -> Result<Contents, ConfigError> {
    config
        .files()
        .map(|(key, path)| {
            let contents = net.read_file(path);
            let failed = |error| ConfigError::new(key, format!("{}: {error}", path.display()));
            Ok((key, contents.map_err(failed)?))
        })
        .collect()
}

/// A TLS session with another peer, and what it proves.
pub struct Session<S> {
    /// The encrypted connection.
    pub stream: Transport<S>,
    /// What the other end proved.
    pub proven: Proven,
    /// Keying material of this session, which our own token is bound to.
    pub exporter: [u8; 32],
    /// The certificate of the other end, and those that lead to its CA.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Takes the handshake of a connecting peer, whose first bytes were read before.
///
/// # Errors
/// Whatever rustls finds wrong with it. Has no deadline: the caller sets one.
pub async fn accept<N: Net>(
    loaded: &Loaded,
    stream: N::Stream,
    read_ahead: Bytes,
) -> io::Result<Session<N::Stream>> {
    let config = loaded.server.clone().ok_or(io::ErrorKind::Unsupported)?;
    let tls = TlsAcceptor::from(config).accept(Rewound::new(stream, read_ahead)).await?;
    session(TlsStream::Server(tls))
}

/// Opens a session with the listening peer `host`, whose certificate must be
/// valid for that name.
///
/// # Errors
/// Whatever rustls finds wrong with it. Has no deadline: the caller sets one.
pub async fn connect<N: Net>(
    config: Arc<rustls::ClientConfig>,
    host: &str,
    stream: N::Stream,
) -> io::Result<Session<N::Stream>> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "not a name for TLS");
    let server = ServerName::try_from(host.to_owned()).map_err(invalid)?;
    let stream = Rewound::new(stream, Bytes::new());
    let tls = TlsConnector::from(config).connect(server, stream).await?;
    session(TlsStream::Client(tls))
}

fn session<S>(mut tls: TlsStream<Rewound<S>>) -> io::Result<Session<S>> {
    match &mut tls {
        TlsStream::Client(tls) => tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES)),
        TlsStream::Server(tls) => tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES)),
    }
    let mut exporter = [0; 32];
    let (state, exported): (&CommonState, _) = match &tls {
        TlsStream::Client(tls) => {
            let connection = tls.get_ref().1;
            (connection, connection.export_keying_material(&mut exporter, EXPORTER_LABEL, None))
        }
        TlsStream::Server(tls) => {
            let connection = tls.get_ref().1;
            (connection, connection.export_keying_material(&mut exporter, EXPORTER_LABEL, None))
        }
    };
    exported.map_err(io::Error::other)?;
    if state.alpn_protocol() != Some(PEER_ALPN) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other end is no peer"));
    }
    let chain = state.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().cloned().map(CertificateDer::into_owned).collect();
    let proven = Proven::Tls { certificate: chain.first().cloned(), exporter };
    Ok(Session { stream: Transport::Tls(Box::new(tls)), proven, exporter, chain })
}
