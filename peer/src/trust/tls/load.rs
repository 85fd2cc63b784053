//! From the contents of files to what rustls needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::rustls;

use super::revocation;
use crate::classify::PEER_ALPN;
use crate::config::{ConfigError, TlsConfig, TokenSource};
use crate::names::PeerId;
use crate::stream::net::Net;
use crate::trust::held::HeldCertificate;
use crate::trust::identity::{Identity, certificate_identity, not_after};
use crate::trust::token::{Token, TokenRules};

/// The contents of the files, by their key in the configuration.
pub(super) type Contents = BTreeMap<&'static str, Vec<u8>>;

/// Everything that one set of files gives. Shows nothing of it.
pub struct Loaded {
    /// For connecting peers; `None` without a certificate of our own.
    pub server: Option<Arc<ServerConfig>>,
    /// For listening peers; `None` without a CA to verify them.
    pub client: Option<Arc<ClientConfig>>,
    /// What we show to listening peers.
    pub token: Option<Token>,
    /// What connecting peers may show.
    pub rules: TokenRules,
    pub(super) client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) server_verifier: Option<Arc<WebPkiServerVerifier>>,
    expiries: Vec<(&'static str, i64)>,
    held: Vec<HeldCertificate>,
    list_expiry: Option<i64>,
    /// What is odd about the revocation lists.
    pub(super) warnings: Vec<String>,
    pub(super) own: Option<CertificateDer<'static>>,
}

/// The wall clock of the network.
#[derive(Clone)]
struct Clock<N>(N);

impl<N> fmt::Debug for Clock<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<N: Net> TimeProvider for Clock<N> {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix_time()))
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loaded(…)")
    }
}

impl Loaded {
    /// Parses and checks everything that is configured.
    pub(super) fn build<N: Net>(
        net: &N,
        config: &TlsConfig,
        contents: &Contents,
    ) -> Result<Self, ConfigError> {
        let chain = certificates("tls_cert", contents)?;
        let roots = certificates("tls_ca", contents)?;
        let material = Material {
            key: private_key(contents)?,
            revoked: revocations(contents)?,
            roots: root_store(&roots)?,
            accepts_tokens: config.accept_tokens.is_some(),
            chain,
        };
        let expires = |which, all: &[CertificateDer<'_>]| {
            all.iter().filter_map(not_after).min().map(|at| (which, at))
        };
        let expiries = [expires("peer", &material.chain), expires("ca", &roots)];
        let lists = revocation::lists(&material.revoked);
        let client_verifier = material.client_verifier(net)?;
        let server_verifier = material.server_verifier(net)?;
        Ok(Self {
            server: material.server(net, client_verifier.clone())?,
            client: material.client(net, server_verifier.clone())?,
            client_verifier,
            server_verifier,
            token: token(config, contents)?,
            rules: rules(contents)?,
            held: held(&material.chain, &roots),
            expiries: expiries.into_iter().flatten().collect(),
            list_expiry: revocation::first_expiry(&lists),
            warnings: revocation::warnings(&lists, &roots, &material.chain, net.unix_time()),
            own: material.chain.into_iter().next(),
        })
    }

    /// A listening peer lets a certificate speak for its own peer id and its instances
    /// only: better to hear of it at the start than from each attempt.
    pub(super) fn check_peer_id(&self, peer: &PeerId) -> Result<(), ConfigError> {
        let Some(own) = &self.own else { return Ok(()) };
        match certificate_identity(own) {
            Some(Identity::Certificate { peer: id, .. }) if id.covers(peer) => Ok(()),
            Some(Identity::Certificate { peer: id, .. }) => {
                let problem = format!("{peer} does not match the certificate, which is for {id}");
                Err(ConfigError::new("peer_id", problem))
            }
            _ => {
                let problem = "names no peer: it must have exactly one URI, \
                               spiffe://TRUST-DOMAIN/peer/PEER-ID";
                Err(ConfigError::new("tls_cert", problem))
            }
        }
    }

    /// When the first certificate of each file ends to be valid, in seconds since
    /// the Unix epoch.
    pub(super) fn expiries(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.expiries.iter().copied()
    }

    /// Our own chain, and the CAs that verify the other side.
    pub fn held(&self) -> &[HeldCertificate] {
        &self.held
    }

    /// When the first revocation list expires, in seconds since the Unix epoch.
    pub(super) fn list_expiry(&self) -> Option<i64> {
        self.list_expiry
    }
}

fn held(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> Vec<HeldCertificate> {
    let own = chain.iter().map(|one| HeldCertificate::of("peer", one));
    own.chain(roots.iter().map(|one| HeldCertificate::of("ca", one))).collect()
}

struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
    roots: Option<Arc<RootCertStore>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    accepts_tokens: bool,
}

impl Material {
    /// Verifies connecting peers.
    fn client_verifier<N: Net>(
        &self,
        net: &N,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, ConfigError> {
        let Some(roots) = &self.roots else { return Ok(None) };
        let mut verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), net.crypto_provider())
                .with_crls(self.revoked.iter().cloned())
                .only_check_end_entity_revocation();
        if self.accepts_tokens {
            verifier = verifier.allow_unauthenticated();
        }
        verifier.build().map(Some).map_err(|error| ConfigError::new("tls_crl", error))
    }

    /// Verifies listening peers.
    fn server_verifier<N: Net>(
        &self,
        net: &N,
    ) -> Result<Option<Arc<WebPkiServerVerifier>>, ConfigError> {
        let Some(roots) = &self.roots else { return Ok(None) };
        WebPkiServerVerifier::builder_with_provider(roots.clone(), net.crypto_provider())
            .with_crls(self.revoked.iter().cloned())
            .only_check_end_entity_revocation()
            .build()
            .map(Some)
            .map_err(|error| ConfigError::new("tls_crl", error))
    }

    fn server<N: Net>(
        &self,
        net: &N,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
        let Some(key) = self.key.as_ref().filter(|_| !self.chain.is_empty()) else {
            return Ok(None);
        };
        let builder =
            ServerConfig::builder_with_details(net.crypto_provider(), Arc::new(Clock(net.clone())))
                .with_protocol_versions(&[&TLS13])
                .map_err(|error| ConfigError::new("tls_cert", error))?;
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut server =
            builder.with_single_cert(self.chain.clone(), key.clone_key()).map_err(|error| {
                ConfigError::new("tls_key", format!("does not match tls_cert: {error}"))
            })?;
        server.alpn_protocols = vec![PEER_ALPN.to_vec()];
        // A resumed session would outlive the revocation of its certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Some(Arc::new(server)))
    }

    fn client<N: Net>(
        &self,
        net: &N,
        verifier: Option<Arc<WebPkiServerVerifier>>,
    ) -> Result<Option<Arc<ClientConfig>>, ConfigError> {
        let Some(verifier) = verifier else { return Ok(None) };
        let builder =
            ClientConfig::builder_with_details(net.crypto_provider(), Arc::new(Clock(net.clone())))
                .with_protocol_versions(&[&TLS13])
                .map_err(|error| ConfigError::new("tls_ca", error))?
                .with_webpki_verifier(verifier);
        let mut client = match &self.key {
            Some(key) => builder
                .with_client_auth_cert(self.chain.clone(), key.clone_key())
                .map_err(|error| {
                    ConfigError::new("tls_key", format!("does not match tls_cert: {error}"))
                })?,
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![PEER_ALPN.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Some(Arc::new(client)))
    }
}

fn certificates(
    key: &'static str,
    contents: &Contents,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let Some(pem) = contents.get(key) else { return Ok(Vec::new()) };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| ConfigError::new(key, format!("not PEM: {error}")))?;
    if all.is_empty() || all.iter().any(|one| not_after(one).is_none()) {
        return Err(ConfigError::new(key, "contains no certificate"));
    }
    Ok(all)
}

fn private_key(contents: &Contents) -> Result<Option<PrivateKeyDer<'static>>, ConfigError> {
    let Some(pem) = contents.get("tls_key") else { return Ok(None) };
    let key = PrivateKeyDer::from_pem_slice(pem);
    // The error's own text could quote the file.
    key.map(Some).map_err(|_| ConfigError::new("tls_key", "contains no private key in PEM"))
}

fn revocations(
    contents: &Contents,
) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigError> {
    let Some(pem) = contents.get("tls_crl") else { return Ok(Vec::new()) };
    let lists = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| ConfigError::new("tls_crl", format!("not PEM: {error}")))?;
    match lists.is_empty() {
        true => Err(ConfigError::new("tls_crl", "contains no revocation list")),
        false => Ok(lists),
    }
}

fn root_store(
    roots: &[CertificateDer<'static>],
) -> Result<Option<Arc<RootCertStore>>, ConfigError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| {
            ConfigError::new("tls_ca", format!("not a CA certificate: {error}"))
        })?;
    }
    Ok(Some(Arc::new(store)))
}

fn token(config: &TlsConfig, contents: &Contents) -> Result<Option<Token>, ConfigError> {
    match (&config.token, contents.get("token_file")) {
        (Some(TokenSource::Given(token)), _) => Ok(Some(token.clone())),
        (_, Some(bytes)) => {
            Token::new(bytes).map(Some).map_err(|error| ConfigError::new("token_file", error))
        }
        _ => Ok(None),
    }
}

fn rules(contents: &Contents) -> Result<TokenRules, ConfigError> {
    let Some(bytes) = contents.get("accept_tokens") else { return Ok(TokenRules::default()) };
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ConfigError::new("accept_tokens", "is not UTF-8"))?;
    TokenRules::from_toml(text).map_err(|problem| ConfigError::new("accept_tokens", problem))
}

#[cfg(test)]
mod tests;
