//! How a connection that a scenario writes by hand speaks peer TLS.

use std::sync::Arc;

use ops_proxy::classify::PEER_ALPN;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore};
use tokio_rustls::rustls;

use super::certificates::Certificates;

/// Shows this certificate, whatever it is, and believes every CA of the scenario, with
/// this cryptography and at the time that this clock shows.
///
/// # Errors
/// What rustls has against it.
pub fn client_config(
    made: &Certificates,
    certificate: &str,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn TimeProvider>,
) -> Result<Arc<ClientConfig>, Error> {
    let bad = |error: rustls::pki_types::pem::Error| Error::General(error.to_string());
    let certificate_of = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(bad);
    let mut roots = RootCertStore::empty();
    for ca in made.cas.values() {
        roots.add(certificate_of(ca)?)?;
    }
    let shown = &made.issued[certificate];
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).map_err(bad)?;
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config =
        builder.with_client_auth_cert(vec![certificate_of(&shown.certificate)?], key)?;
    config.alpn_protocols = vec![PEER_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The simulated clock.
#[derive(Debug)]
pub struct SimClock;

impl TimeProvider for SimClock {
    fn current_time(&self) -> Option<UnixTime> {
        turmoil::since_epoch().map(UnixTime::since_unix_epoch)
    }
}
