//! One check of the backends of a service: a connection to each, and a GET where that is
//! asked for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::backend::proxy_header::LOCAL;
use crate::config::{Endpoint, Expect, Health, Probe, Service};
use crate::http::{Asks, Flaw, HeadEnd, read_answer};
use crate::limits::PROBE_READ_BYTES;
use crate::names::Name;
use crate::observe::metrics::CheckResult;
use crate::shared::Shared;
use crate::stream::dial::{DialError, dial};
use crate::stream::net::Net;
use crate::wire::FailReason;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No answer in time.
    #[error("{backend} did not answer within {}", humantime::format_duration(*within))]
    Late {
        /// Who did not answer.
        backend: Endpoint,
        /// How long it was given.
        within: Duration,
    },
    /// Another answer than was asked for.
    #[error("{0} answered with status {1}, not {2}")]
    Status(Endpoint, u16, Expect),
    /// The connection ended before the answer.
    #[error("{0} closed the connection before its answer")]
    Closed(Endpoint),
    /// The connection broke.
    #[error("the connection to {0} failed: {1}")]
    Broken(Endpoint, #[source] io::Error),
    /// Something else than an answer.
    #[error("{0} answered with what is not HTTP/1")]
    Malformed(Endpoint, #[source] Flaw),
}

impl Failed {
    /// As it is counted.
    pub(super) fn result(&self) -> CheckResult {
        match self {
            Self::Dial(error) => error.into(),
            Self::Late { .. } => CheckResult::Timeout,
            Self::Status(..) => CheckResult::Status,
            Self::Closed(_) | Self::Broken(..) => CheckResult::Closed,
            Self::Malformed(..) => CheckResult::Malformed,
        }
    }
}

impl From<&DialError> for CheckResult {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::Resolve(..) | DialError::Connect(..)
                if error.fail_reason() == FailReason::Overloaded =>
            {
                Self::Overloaded
            }
            DialError::Resolve(..) => Self::Unresolved,
            _ if error.fail_reason() == FailReason::BackendTimeout => Self::Timeout,
            _ => Self::Refused,
        }
    }
}

/// Checks all backends of `service`, one after the other, within one timeout.
///
/// # Errors
/// [`Failed`], of the first that did.
pub async fn probe<N: Net>(
    shared: &Shared<N>,
    name: &Name,
    service: &Service,
    health: &Health,
) -> Result<(), Failed> {
    let deadline = Instant::now() + health.timeout;
    let asked = service.asked_by_http();
    for backend in service.backends() {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut stream = dial(&shared.resolver, backend, left).await?;
        let talk = async {
            if let Some(version) = service.proxy_protocol {
                write(backend, &mut stream, LOCAL[version as usize]).await?;
            }
            match &health.probe {
                Probe::Http { path, host, expect } if asked == Some(backend) => {
                    // As with a request: one that comes back to this peer is a loop.
                    let _outgoing = shared.register_outgoing(&stream, name);
                    let host = host.as_ref().unwrap_or(name);
                    let request = format!(
                        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ops-proxy-health\r\n\
                         Accept: */*\r\nConnection: close\r\n\r\n"
                    );
                    write(backend, &mut stream, request.as_bytes()).await?;
                    match status(backend, &mut stream).await? {
                        status if expect.contains(status) => Ok(()),
                        status => Err(Failed::Status(backend.clone(), status, *expect)),
                    }
                }
                Probe::Tcp | Probe::Http { .. } => Ok(()),
            }
        };
        let late = |_| Failed::Late { backend: backend.clone(), within: health.timeout };
        timeout_at(deadline, talk).await.map_err(late)??;
    }
    Ok(())
}

async fn write(
    backend: &Endpoint,
    stream: &mut (impl AsyncWriteExt + Unpin),
    bytes: &[u8],
) -> Result<(), Failed> {
    let written = stream.write_all(bytes).await;
    written.map_err(|error| Failed::Broken(backend.clone(), error))
}

/// The status of the answer. Nothing behind its head is read.
async fn status(
    backend: &Endpoint,
    stream: &mut (impl AsyncReadExt + Unpin),
) -> Result<u16, Failed> {
    let malformed = |flaw| Failed::Malformed(backend.clone(), flaw);
    let mut read = Vec::new();
    let mut head_end = HeadEnd::default();
    loop {
        if let Some(end) = head_end.find(&read).map_err(malformed)? {
            let answer = read_answer(&read[..end], Asks::Other).map_err(malformed)?;
            if !answer.is_interim() {
                return Ok(answer.status);
            }
            read.drain(..end);
            head_end = HeadEnd::default();
            continue;
        }
        let mut buffer = [0; PROBE_READ_BYTES];
        match stream.read(&mut buffer).await {
            Ok(0) => return Err(Failed::Closed(backend.clone())),
            Ok(bytes) => read.extend_from_slice(&buffer[..bytes]),
            Err(error) => return Err(Failed::Broken(backend.clone(), error)),
        }
    }
}
