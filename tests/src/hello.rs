//! TLS clients, and the first bytes that they send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::client::connect;
use crate::wait::within;

/// A client that trusts `roots` and offers these protocols by ALPN.
pub fn config(roots: &[CertificateDer<'static>], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).expect("a certificate made for the test");
    }
    let mut config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A TLS handshake with `name` through the peer at `to`.
///
/// # Errors
/// What the handshake failed with, an alert for instance.
pub async fn handshake(
    to: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = connect(to).await;
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    within("a handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// The first bytes of a client that asks for `name`; an IP address makes a hello
/// without SNI.
pub fn first_bytes(name: &str) -> Vec<u8> {
    first_bytes_of(config(&[], &[]), name)
}

/// As [`first_bytes`], of a client of this configuration.
pub fn first_bytes_of(config: Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let mut client = ClientConnection::new(config, name).expect("a sound configuration");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("writing to memory");
    }
    bytes
}
