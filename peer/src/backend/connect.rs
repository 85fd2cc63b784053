//! Connects a request to the backend that this peer's configuration names for it.

use std::fmt::Display;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::proxy_header::proxy_header;
use crate::config::{Endpoint, PeerConfig, Service};
use crate::limits::WRITE_TIMEOUT;
use crate::mesh::outgoing::Registered;
use crate::names::{Name, ProxyId};
use crate::observe::LogSource;
use crate::observe::metrics::Incident;
use crate::shared::Shared;
use crate::stream::dial::dial;
use crate::stream::net::Net;
use crate::wire::{FailReason, Requested};

/// The backend of a request for a stream, and what tells the request from others if it comes back
/// here. Who `asked` for a name that is not served here is logged.
///
/// # Errors
/// Why there is none, logged.
pub async fn connect_backend<N: Net>(
    shared: &Shared<N>,
    id: ProxyId,
    requested: &Requested,
    asked: impl Into<LogSource>,
) -> Result<(N::Stream, Option<Registered>), FailReason> {
    let Requested { name, source, dest, .. } = requested;
    if let Some(dest) = *dest
        && shared.outgoing.is_loop(*source, dest, name)
    {
        return Err(looped(shared, id, name));
    }
    let config = shared.config_of_now();
    let (service, backend) = served(shared, &config, id, requested, asked)?;
    let within = shared.config().timing.backend_dial();
    let unreachable = |error: &dyn Display| cannot_reach(shared, id, name, *source, error);
    let mut stream = dial(&shared.resolver, backend, within).await.map_err(|error| {
        unreachable(&error);
        error.fail_reason()
    })?;
    if let Some(version) = service.proxy_protocol {
        let header = proxy_header(version, requested);
        let written = timeout(WRITE_TIMEOUT, stream.write_all(&header)).await;
        written.map_err(Into::into).flatten().map_err(|error: std::io::Error| {
            unreachable(&error);
            FailReason::BackendRefused
        })?;
    }
    let outgoing = shared.register_outgoing(&stream, name);
    Ok((stream, outgoing))
}

/// The service that is asked for, and its backend for the way that it is asked for in.
///
/// # Errors
/// [`FailReason::UnknownName`], logged on behalf of who `asked`.
pub(super) fn served<'a, N: Net>(
    shared: &Shared<N>,
    config: &'a PeerConfig,
    id: ProxyId,
    requested: &Requested,
    asked: impl Into<LogSource>,
) -> Result<(&'a Service, &'a Endpoint), FailReason> {
    let Requested { name, way, .. } = requested;
    let service = config.services.get(name);
    let served = service.and_then(|service| Some((service, service.backend(*way)?)));
    if served.is_none() && shared.may_log(asked, Incident::UnknownName) {
        tracing::warn!(%id, ?name, %way, "FORWARD for what this peer does not serve");
    }
    served.ok_or(FailReason::UnknownName)
}

/// Logs that a request for `name` has come back.
pub(super) fn looped<N: Net>(shared: &Shared<N>, id: ProxyId, name: &Name) -> FailReason {
    if shared.may_log(name, Incident::Loop) {
        tracing::warn!(%id, %name, "a request came back to this peer: its backend leads to the listening peer");
    }
    FailReason::Loop
}

/// Logs that the backend of a request cannot be reached.
pub(super) fn cannot_reach<N: Net>(
    shared: &Shared<N>,
    id: ProxyId,
    name: &Name,
    source: SocketAddr,
    error: &dyn Display,
) {
    if shared.may_log(name, Incident::BackendUnreachable) {
        tracing::warn!(%id, %name, %source, %error, "cannot reach the backend; check its address, and that it is running");
    }
}
