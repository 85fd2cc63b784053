//! Dialling: a backend of our own configuration, or a listening peer.

use std::io;

use tokio::time::timeout;

use crate::config::Endpoint;
use crate::limits::{DIAL_TIMEOUT, RESOLVE_TIMEOUT};
use crate::stream::net::Net;
use crate::wire::FailReason;

/// Why nothing could be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name did not resolve, or to nothing.
    #[error("cannot resolve {0}: {1}")]
    Resolve(Endpoint, #[source] io::Error),
    /// Every address refused; this was the last answer.
    #[error("cannot connect to {0}: {1}")]
    Connect(Endpoint, #[source] io::Error),
    /// Nobody answered in time.
    #[error("{0} did not answer in time")]
    Timeout(Endpoint),
}

impl DialError {
    /// What a listening peer is told of a backend that could not be dialled.
    pub fn fail_reason(&self) -> FailReason {
        match self {
            Self::Connect(_, error) | Self::Resolve(_, error) if is_out_of_resources(error) => {
                FailReason::Overloaded
            }
            Self::Connect(_, error) if error.kind() == io::ErrorKind::TimedOut => {
                FailReason::BackendTimeout
            }
            Self::Resolve(..) | Self::Connect(..) => FailReason::BackendRefused,
            Self::Timeout(_) => FailReason::BackendTimeout,
        }
    }
}

/// Whether this process or machine has run out of file descriptors, ports or
/// memory.
pub fn is_out_of_resources(error: &io::Error) -> bool {
    // ENFILE and EMFILE have no kind of their own in std.
    matches!(error.raw_os_error(), Some(23 | 24))
        || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

/// Resolves `endpoint` anew and connects to the first of its addresses that
/// answers, all within [`RESOLVE_TIMEOUT`] and [`DIAL_TIMEOUT`].
///
/// # Errors
/// [`DialError`], of the last address tried.
pub async fn dial<N: Net>(net: &N, endpoint: &Endpoint) -> Result<N::Stream, DialError> {
    let resolving = net.resolve(&endpoint.host, endpoint.port);
    let addresses = match timeout(RESOLVE_TIMEOUT, resolving).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(DialError::Resolve(endpoint.clone(), error)),
        Err(_) => return Err(DialError::Timeout(endpoint.clone())),
    };
    let connecting = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        for address in addresses {
            match net.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(DialError::Connect(endpoint.clone(), last))
    };
    match timeout(DIAL_TIMEOUT, connecting).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout(endpoint.clone())),
    }
}
