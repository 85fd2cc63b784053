//! Certificates of names whose public TLS ends here, from files that are read again when
//! they change. They authorise no peer, and nothing here asks a client who it is.
//!
//! A directory holds `NAME.pem` with `NAME.key`, or `tls.crt` with `tls.key` as Kubernetes
//! mounts them, in itself or in its subdirectories. The names are those of the certificates,
//! not of the files.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::rustls;
use tokio_rustls::{TlsAcceptor, TlsStream};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::held::HeldCertificate;
use super::identity::not_after;
use super::tls::{check_writers, is_exposed};
use crate::config::ConfigError;
use crate::limits::TLS_BUFFER_BYTES;
use crate::lock::Lock;
use crate::names::Name;
use crate::observe::metrics::Metrics;
use crate::stream::net::Net;
use crate::stream::transport::{Rewound, Transport};
use crate::wire::TlsVersion;

const KEY: &str = "public_cert";
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The certificates of one directory. Shows nothing of what its files hold.
pub struct Front {
    directory: PathBuf,
    current: Lock<Arc<BTreeMap<Name, Arc<Certified>>>>,
    /// What was read last, good or bad, so that each change is tried and counted once.
    seen: Lock<Result<Vec<Pair>, ConfigError>>,
}

/// A certificate and its key, as they stand in their files.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    path: PathBuf,
    key_path: PathBuf,
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// What one certificate serves.
pub struct Certified {
    names: Vec<Name>,
    expires: Option<i64>,
    held: HeldCertificate,
    http1: Arc<ServerConfig>,
    /// With `h2` on offer.
    http2: Arc<ServerConfig>,
}

/// A client whose TLS ends here.
pub struct Met<S> {
    /// The connection, in clear text from here on.
    pub stream: Transport<S>,
    /// The version of its TLS.
    pub version: TlsVersion,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certified").field(&self.names).finish()
    }
}

impl Certified {
    /// Whether it is valid for `name`.
    pub fn covers(&self, name: &Name) -> bool {
        let wildcard = name.wildcard();
        self.names.iter().any(|own| own == name || Some(own.as_str()) == wildcard.as_deref())
    }
}

impl Front {
    /// Reads the directory for the first time.
    ///
    /// # Errors
    /// The file that is missing or invalid, under the key `public_cert`.
    pub fn open<N: Net>(net: &N, directory: &Path, metrics: &Metrics) -> Result<Self, ConfigError> {
        let pairs = read(net, directory)?;
        let all = load(net, &pairs)?;
        warn(net, &pairs);
        count_expiry(metrics, &all);
        Ok(Self {
            directory: directory.to_owned(),
            current: Lock::new("the public certificates", Arc::new(all)),
            seen: Lock::new("what was read of the public certificates", Ok(pairs)),
        })
    }

    /// The certificate for `name`: its own, or that of a wildcard over it.
    pub fn certificate(&self, name: &Name) -> Option<Arc<Certified>> {
        let all = self.current.lock().clone();
        let own = all.get(name);
        own.or_else(|| all.get(name.wildcard()?.as_str())).cloned()
    }

    /// All certificates, each once, in the order of the first of their names.
    pub fn held(&self) -> Vec<HeldCertificate> {
        let all = self.current.lock().clone();
        let first = all.iter().filter(|(name, one)| one.names.iter().min() == Some(*name));
        first.map(|(_, one)| one.held.clone()).collect()
    }

    /// Reads the directory again, and loads what it holds if that changed.
    pub fn reload<N: Net>(&self, net: &N, metrics: &Metrics) {
        let read = read(net, &self.directory);
        if read == *self.seen.lock() {
            return;
        }
        *self.seen.lock() = read.clone();
        let loaded = read.and_then(|pairs| {
            let all = load(net, &pairs)?;
            warn(net, &pairs);
            Ok(all)
        });
        match loaded {
            Ok(all) => {
                count_expiry(metrics, &all);
                *self.current.lock() = Arc::new(all);
                metrics.tls_reloaded();
                tracing::info!("public certificates reloaded");
            }
            Err(error) => {
                metrics.tls_reload_failed();
                tracing::warn!(%error, "cannot reload public certificates; keeping the old ones until they are fixed");
            }
        }
    }
}

/// Whether `directory` holds what [`Front`] can use.
///
/// # Errors
/// As [`Front::open`].
pub fn check_front<N: Net>(net: &N, directory: &Path) -> Result<(), ConfigError> {
    load(net, &read(net, directory)?).map(drop)
}

/// Takes the handshake of a public client, whose first bytes were read before.
///
/// # Errors
/// Whatever rustls finds wrong with it. Has no deadline: the caller sets one.
pub async fn meet<N: Net>(
    certified: &Certified,
    offers_h2: bool,
    stream: N::Stream,
    read_ahead: Bytes,
) -> io::Result<Met<N::Stream>> {
    let config = if offers_h2 { &certified.http2 } else { &certified.http1 };
    let acceptor = TlsAcceptor::from(config.clone());
    let mut tls = acceptor.accept(Rewound::new(stream, read_ahead)).await?;
    let connection = tls.get_mut().1;
    connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    };
    Ok(Met { stream: Transport::Tls(Box::new(TlsStream::Server(tls))), version })
}

fn read<N: Net>(net: &N, directory: &Path) -> Result<Vec<Pair>, ConfigError> {
    let failed = |path: &Path, error: io::Error| {
        ConfigError::new(KEY, format!("{}: {error}", path.display()))
    };
    let list = |path: &Path| net.list_directory(path).map_err(|error| failed(path, error));
    let mut pairs = Vec::new();
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut add = |path: &Path| -> Result<(), ConfigError> {
        let key_path = match path.file_name().and_then(|name| name.to_str()) {
            Some("tls.crt") => path.with_file_name("tls.key"),
            _ if path.extension().is_some_and(|extension| extension == "pem") => {
                path.with_extension("key")
            }
            _ => return Ok(()),
        };
        for path in [path, &key_path] {
            check_writers(net, KEY, path)?;
        }
        pairs.push(Pair {
            chain: net.read_file(path).map_err(|error| failed(path, error))?,
            key: net.read_file(&key_path).map_err(|error| failed(&key_path, error))?,
            path: path.to_owned(),
            key_path,
        });
        Ok(())
    };
    for path in list(directory)? {
        add(&path)?;
        // Kubernetes keeps what it has mounted in hidden directories, too.
        if !is_hidden(&path)
            && let Ok(inner) = net.list_directory(&path)
        {
            inner.iter().try_for_each(|path| add(path))?;
        }
    }
    if pairs.is_empty() {
        let problem = format!(
            "{}: contains no certificate: expected NAME.pem with NAME.key, or tls.crt with tls.key",
            directory.display()
        );
        return Err(ConfigError::new(KEY, problem));
    }
    Ok(pairs)
}

fn load<N: Net>(net: &N, pairs: &[Pair]) -> Result<BTreeMap<Name, Arc<Certified>>, ConfigError> {
    let mut all: BTreeMap<Name, Arc<Certified>> = BTreeMap::new();
    let mut from: BTreeMap<Name, &Path> = BTreeMap::new();
    for pair in pairs {
        let certified = Arc::new(certified(net, pair)?);
        for name in &certified.names {
            if let Some(other) = from.insert(name.clone(), &pair.path) {
                let (one, other) = (pair.path.display(), other.display());
                let problem = format!("{one}: {name} has a certificate in {other}, too");
                return Err(ConfigError::new(KEY, problem));
            }
            all.insert(name.clone(), certified.clone());
        }
    }
    Ok(all)
}

fn certified<N: Net>(net: &N, pair: &Pair) -> Result<Certified, ConfigError> {
    let fault = |path: &Path, problem: &dyn fmt::Display| {
        ConfigError::new(KEY, format!("{}: {problem}", path.display()))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(&pair.path, &format_args!("not PEM: {error}")))?;
    let own = chain.first().ok_or_else(|| fault(&pair.path, &"contains no certificate"))?;
    let names = dns_names(own);
    if names.is_empty() {
        return Err(fault(&pair.path, &"the certificate has no DNS name"));
    }
    // The error's own text could quote the file.
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|_| fault(&pair.key_path, &"contains no private key in PEM"))?;
    let config = |alpn: &[&[u8]]| {
        let builder = ServerConfig::builder_with_provider(net.crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(&pair.path, &error))?;
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| {
                fault(&pair.key_path, &format_args!("does not match the certificate: {error}"))
            })?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok::<_, ConfigError>(Arc::new(config))
    };
    let (http1, http2) = (config(&[HTTP1])?, config(&[H2, HTTP1])?);
    let held = HeldCertificate::of("public", own);
    Ok(Certified { names, expires: not_after(own), held, http1, http2 })
}

fn dns_names(certificate: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Name::registered(name).ok(),
        _ => None,
    });
    names.collect()
}

fn warn<N: Net>(net: &N, pairs: &[Pair]) {
    for pair in pairs.iter().filter(|pair| is_exposed(net, &pair.key_path)) {
        let path = pair.key_path.display();
        tracing::warn!("{KEY}: anyone on this machine can read {path}; run: chmod 600 {path}");
    }
}

fn count_expiry(metrics: &Metrics, all: &BTreeMap<Name, Arc<Certified>>) {
    if let Some(first) = all.values().filter_map(|one| one.expires).min() {
        metrics.tls_expiry("public", first);
    }
}
