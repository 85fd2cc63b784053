//! Dialling: a backend of our own configuration, or a listening peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::resolve::{Addresses, Resolver};
use crate::config::Endpoint;
use crate::stream::net::Net;
use crate::wire::FailReason;

/// Why nothing could be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name did not resolve, or to nothing.
    #[error("cannot resolve {0}: {1}")]
    Resolve(Endpoint, #[source] Arc<io::Error>),
    /// DNS did not answer in time.
    #[error("cannot resolve {0}: DNS did not answer in time; look at this machine's resolver")]
    Unresolved(Endpoint),
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
            Self::Connect(_, error) if is_out_of_resources(error) => FailReason::Overloaded,
            Self::Resolve(_, error) if is_out_of_resources(error) => FailReason::Overloaded,
            Self::Connect(_, error) if error.kind() == io::ErrorKind::TimedOut => {
                FailReason::BackendTimeout
            }
            Self::Resolve(..) | Self::Connect(..) => FailReason::BackendRefused,
            Self::Unresolved(_) | Self::Timeout(_) => FailReason::BackendTimeout,
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

/// Connects to the first address of `endpoint` that accepts, all `within` this time: a
/// lookup, where there is need of one, and the connection. Addresses that were found
/// before and refuse now are looked up once more.
///
/// # Errors
/// [`DialError`], of the last address tried.
pub async fn dial<N: Net>(
    resolver: &Resolver<N>,
    endpoint: &Endpoint,
    within: Duration,
) -> Result<N::Stream, DialError> {
    dial_from(resolver, endpoint, 0, within).await
}

/// As [`dial`], beginning with the address of this number, modulo how many there are.
///
/// # Errors
/// As [`dial`].
pub async fn dial_from<N: Net>(
    resolver: &Resolver<N>,
    endpoint: &Endpoint,
    first: usize,
    within: Duration,
) -> Result<N::Stream, DialError> {
    let began = Instant::now();
    let deadline = began + within;
    let mut found = resolve(resolver, endpoint, deadline).await?;
    loop {
        let failed = match connect(resolver.net(), endpoint, &found, first, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(failed) => failed,
        };
        resolver.forget(&endpoint.host, &found);
        if found.at >= began || Instant::now() >= deadline {
            return Err(failed);
        }
        let again = resolve(resolver, endpoint, deadline).await?;
        if again.ips == found.ips {
            return Err(failed);
        }
        found = again;
    }
}

/// Connects to `addr`, one of the addresses of `endpoint`, within this time.
///
/// # Errors
/// [`DialError`].
pub async fn dial_address<N: Net>(
    net: &N,
    endpoint: &Endpoint,
    addr: SocketAddr,
    within: Duration,
) -> Result<N::Stream, DialError> {
    match timeout(within, net.connect(addr)).await {
        Ok(connected) => connected.map_err(|error| DialError::Connect(endpoint.clone(), error)),
        Err(_) => Err(DialError::Timeout(endpoint.clone())),
    }
}

/// Looks the host of `endpoint` up.
///
/// # Errors
/// [`DialError::Resolve`] or [`DialError::Unresolved`].
pub async fn resolve<N: Net>(
    resolver: &Resolver<N>,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<Addresses, DialError> {
    match timeout_at(deadline, resolver.addresses(&endpoint.host)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => {
            Err(DialError::Resolve(endpoint.clone(), error))
        }
        Ok(Err(_)) | Err(_) => Err(DialError::Unresolved(endpoint.clone())),
    }
}

async fn connect<N: Net>(
    net: &N,
    endpoint: &Endpoint,
    found: &Addresses,
    first: usize,
    deadline: Instant,
) -> Result<N::Stream, DialError> {
    let connecting = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        let count = found.ips.len();
        for ip in found.ips.iter().cycle().skip(first % count.max(1)).take(count) {
            match net.connect(SocketAddr::new(*ip, endpoint.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(DialError::Connect(endpoint.clone(), last))
    };
    match timeout_at(deadline, connecting).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout(endpoint.clone())),
    }
}
