//! A TLS session with another peer, from its handshake on.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, CommonState};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::load::Loaded;
use crate::classify::PEER_ALPN;
use crate::limits::TLS_BUFFER_BYTES;
use crate::stream::net::Net;
use crate::stream::transport::{Rewound, Transport};
use crate::trust::proof::{EXPORTER_LABEL, Proven};

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
    let tls = TlsAcceptor::from(config)
        .accept(Rewound::new(stream, read_ahead))
        .await
        .map_err(in_words)?;
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
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "not a valid TLS server name");
    let server = ServerName::try_from(host.to_owned()).map_err(invalid)?;
    let stream = Rewound::new(stream, Bytes::new());
    let tls = TlsConnector::from(config).connect(server, stream).await.map_err(in_words)?;
    session(TlsStream::Client(tls))
}

/// What rustls finds wrong with a certificate, with the remedy where it only has a code.
fn in_words(error: io::Error) -> io::Error {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(found)) = found else { return error };
    let words = match found {
        CertificateError::UnknownIssuer => {
            "its certificate is not from a CA in tls_ca, or an intermediate certificate is missing \
             from its tls_cert"
        }
        CertificateError::UnknownRevocationStatus => {
            "tls_crl contains no revocation list of the CA that issued its certificate; add that list"
        }
        CertificateError::Revoked => "its certificate has been revoked",
        _ => return error,
    };
    io::Error::new(error.kind(), words)
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
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other end is not a peer"));
    }
    let chain = state.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().cloned().map(CertificateDer::into_owned).collect();
    let proven = Proven::Tls { certificate: chain.first().cloned(), exporter };
    Ok(Session { stream: Transport::Tls(Box::new(tls)), proven, exporter, chain })
}
