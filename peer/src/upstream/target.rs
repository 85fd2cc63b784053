//! Dials a listening peer, for a link or for DATA.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tokio_rustls::rustls;

use crate::config::Endpoint;
use crate::limits::{CONNECT_TIMEOUT, DATA_DIALS, DIAL_TIMEOUT, WRITE_TIMEOUT};
use crate::mesh::hubs::{Hub, To};
use crate::names::PeerId;
use crate::shared::Shared;
use crate::stream::control::{ControlError, first_line, write_line};
use crate::stream::dial::{DialError, dial_address, dial_from};
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::stream::via::{ViaError, dial_via};
use crate::trust::{Token, tls};
use crate::wire::{ErrorCode, Line, LineBuffer, ReportedError, WireError};

/// Where a link and its DATA connections go.
#[derive(Debug)]
pub struct Target {
    /// What was configured; inside TLS, its host is who must answer.
    pub upstream: Endpoint,
    /// Which of the peers that listen there.
    pub to: To,
    /// The peer that answered the link.
    hub: OnceLock<PeerId>,
}

impl fmt::Display for Target {
    /// The endpoint, and which address of it where that is not the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(ip) if self.upstream.host.parse() != Ok(ip) => {
                write!(f, "{} ({ip})", self.upstream)
            }
            _ => self.upstream.fmt(f),
        }
    }
}

/// A connection to a listening peer, and what proves to it who we are.
pub struct DialledPeer<N: Net> {
    /// Ready for its first line.
    pub stream: Transport<N::Stream>,
    /// A token, and the keying material of the session that it is bound to.
    pub token: Option<(Token, [u8; 32])>,
    /// The certificates that the listening peer showed inside TLS.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Target {
    /// Where nobody has answered yet.
    pub fn new(upstream: Endpoint, to: To) -> Self {
        Self { upstream, to, hub: OnceLock::new() }
    }

    /// One that a link was opened to.
    pub fn of(hub: Hub) -> Self {
        let Hub { upstream, to, peer } = hub;
        Self { upstream, to, hub: peer.map(OnceLock::from).unwrap_or_default() }
    }

    /// As others know it.
    pub fn as_hub(&self) -> Hub {
        Hub { upstream: self.upstream.clone(), to: self.to, peer: self.hub().cloned() }
    }

    /// This peer has answered the link.
    pub fn answered(&self, hub: PeerId) {
        // Only the first answer counts; there is one.
        let _ = self.hub.set(hub);
    }

    /// The peer that has answered the link.
    pub fn hub(&self) -> Option<&PeerId> {
        self.hub.get()
    }

    fn address(&self) -> Option<IpAddr> {
        match self.to {
            To::Address(ip) => Some(ip),
            To::Behind(_) => None,
        }
    }

    /// Dials, through a proxy if there is one for this upstream, and inside TLS where a CA is configured to verify who answers.
    ///
    /// # Errors
    /// [`DialPeerError`].
    pub async fn dial<N: Net>(&self, shared: &Shared<N>) -> Result<DialledPeer<N>, DialPeerError> {
        let upstream = &self.upstream;
        let config = shared.config_of_now();
        let via = config.proxies.to(upstream);
        let stream = match (via, self.address()) {
            (Some(via), _) => dial_via(&shared.resolver, via, upstream, CONNECT_TIMEOUT).await?,
            (None, Some(ip)) => {
                let addr = SocketAddr::new(ip, upstream.port);
                dial_address(&shared.net, upstream, addr, CONNECT_TIMEOUT).await?
            }
            (None, None) => {
                // Several addresses take turns, as the peers behind one do.
                let first = shared.random() as usize;
                dial_from(&shared.resolver, upstream, first, CONNECT_TIMEOUT).await?
            }
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
        let session = timeout(DIAL_TIMEOUT, handshake).await;
        let session = session.map_err(|_| DialPeerError::Late)?.map_err(DialPeerError::Tls)?;
        let token = token.map(|token| (token, session.exporter));
        Ok(DialledPeer { stream: session.stream, token, chain: session.chain })
    }

    /// Dials a DATA connection and writes its first line, which `line` makes of the token
    /// and of whom it is for. Where several peers listen behind one address, dials again
    /// until the peer of the link answers. Returns what was read behind that answer, too.
    ///
    /// # Errors
    /// [`DialPeerError`]; has no deadline of its own but those of each dial.
    pub async fn dial_data<N: Net>(
        &self,
        shared: &Shared<N>,
        line: impl Fn(Option<(Token, [u8; 32])>, Option<PeerId>) -> Line,
    ) -> Result<(Transport<N::Stream>, Bytes), DialPeerError> {
        let to = self.hub().filter(|_| self.address().is_none());
        for _ in 0..DATA_DIALS {
            let DialledPeer { mut stream, token, .. } = self.dial(shared).await?;
            write_line(&mut stream, &line(token, to.cloned())).await?;
            let Some(to) = to else { return Ok((stream, Bytes::new())) };
            let mut lines = LineBuffer::default();
            let read = timeout(WRITE_TIMEOUT, first_line(&mut stream, &mut lines)).await;
            let answer = read.map_err(|_| DialPeerError::Unanswered)??;
            match Line::parse(&answer)? {
                Line::Welcome(hub) if hub == *to => return Ok((stream, lines.into_rest())),
                Line::Error(ErrorCode::WrongPeer, _) => {}
                Line::Error(code, text) => {
                    return Err(DialPeerError::Refused(ReportedError { code, text }));
                }
                _ => return Err(DialPeerError::Unanswered),
            }
        }
        Err(DialPeerError::Elsewhere)
    }
}

/// What broke a connection; inside TLS, it may be that our certificate is refused.
pub fn broken(error: &ControlError) -> String {
    match error {
        ControlError::Io(error) => tls::in_plain_words(error),
        ControlError::Wire(error) => error.to_string(),
    }
}

/// Why a listening peer could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialPeerError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS on it, or it broke.
    #[error("the connection failed: {}", tls::in_plain_words(.0))]
    Io(#[from] io::Error),
    /// No connection through its proxy.
    #[error(transparent)]
    Via(#[from] ViaError),
    /// No TLS on it.
    #[error("TLS handshake failed: {}", tls::in_plain_words(.0))]
    Tls(io::Error),
    /// No DATA connection before the request's deadline, or no end of the TLS handshake.
    #[error("no answer in time")]
    Late,
    /// The answer is no line.
    #[error("{}", broken(.0))]
    Control(#[from] ControlError),
    /// As above.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The DATA connection was refused.
    #[error("the listening peer reported {0}")]
    Refused(ReportedError),
    /// A DATA connection that names its peer was not answered.
    #[error("no answer from the peer that the DATA connection is for")]
    Unanswered,
    /// Every DATA connection reached another peer.
    #[error(
        "{DATA_DIALS} connections reached other peers behind this address than the one of the \
         link; use a balancer that takes turns"
    )]
    Elsewhere,
}
