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

/// An extension: its type and its body.
pub type Extension = (u16, Vec<u8>);

/// A ClientHello message made by hand (RFC 8446 §4.1.2), with these extensions.
pub fn message(extensions: &[Extension]) -> Vec<u8> {
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &vector(2, body)].concat())
        .collect();
    // Version, random, session id, two ciphers, no compression.
    let start = [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &[0, 4, 0x13, 1, 0x13, 2, 1, 0]];
    let body = [&start.concat()[..], &vector(2, &extensions)].concat();
    [&[1][..], &vector(3, &body)].concat()
}

/// `message` in TLS records of these sizes, in turn (RFC 8446 §5.1).
pub fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), message);
    for size in sizes.iter().cycle() {
        let (payload, after) = rest.split_at(rest.len().min(*size));
        bytes.extend([22, 3, 1]);
        bytes.extend(vector(2, payload));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    bytes
}

/// The server_name extension (RFC 6066 §3) that lists these host names.
pub fn server_names(names: &[&[u8]]) -> Extension {
    let entry = |name: &&[u8]| [&[0][..], &vector(2, name)].concat();
    (0, vector(2, &names.iter().flat_map(entry).collect::<Vec<u8>>()))
}

/// `body` behind its length, in `width` bytes.
fn vector(width: usize, body: &[u8]) -> Vec<u8> {
    [&body.len().to_be_bytes()[size_of::<usize>() - width..], body].concat()
}
