//! Dials a listening peer.

use std::io;

use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tokio_rustls::rustls;

use crate::config::Endpoint;
use crate::limits::{CONNECT_TIMEOUT, DIAL_TIMEOUT};
use crate::shared::Shared;
use crate::stream::dial::{DialError, dial};
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::stream::via::{ViaError, dial_via};
use crate::trust::{Token, tls};

/// A connection to a listening peer, and what proves to it who we are.
pub(super) struct DialledPeer<N: Net> {
    /// Ready for its first line.
    pub stream: Transport<N::Stream>,
    /// A token, and the keying material of the session that it is bound to.
    pub token: Option<(Token, [u8; 32])>,
    /// The certificates that the listening peer showed inside TLS.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Dials a listening peer, through its proxy if it has one, and inside TLS where a CA is configured to verify it.
///
/// # Errors
/// [`DialPeerError`].
pub(super) async fn dial_peer<N: Net>(
    shared: &Shared<N>,
    upstream: &Endpoint,
) -> Result<DialledPeer<N>, DialPeerError> {
    let resolver = &shared.resolver;
    let stream = match shared.config.proxies.to(upstream) {
        Some(via) => dial_via(resolver, via, upstream, CONNECT_TIMEOUT).await?,
        None => dial(resolver, upstream, CONNECT_TIMEOUT).await?,
    };
    let loaded = shared.tls.as_ref().map(|tls| tls.current());
    let Some((config, token)) =
        loaded.and_then(|loaded| Some((loaded.client.clone()?, loaded.token.clone())))
    else {
        return Ok(DialledPeer {
            stream: Transport::Plain(stream),
            token: None,
            chain: Vec::new(),
        });
    };
    let handshake = tls::connect::<N>(config, &upstream.host, stream);
    let session = timeout(DIAL_TIMEOUT, handshake).await.map_err(|_| DialPeerError::Late)??;
    let token = token.map(|token| (token, session.exporter));
    Ok(DialledPeer { stream: session.stream, token, chain: session.chain })
}

/// Why a listening peer could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialPeerError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No connection through its proxy.
    #[error(transparent)]
    Via(#[from] ViaError),
    /// No TLS on it.
    #[error("TLS handshake failed: {0}")]
    Tls(#[from] io::Error),
    /// As above, for want of an answer.
    #[error("the TLS handshake timed out")]
    Late,
}
