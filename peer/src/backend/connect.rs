//! Connects a request to the backend that this peer's configuration names for it.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::proxy_header::proxy_header;
use crate::limits::WRITE_TIMEOUT;
use crate::mesh::outgoing::Registered;
use crate::names::ProxyId;
use crate::observe::LogSource;
use crate::observe::metrics::Incident;
use crate::shared::Shared;
use crate::stream::dial::dial;
use crate::stream::net::Net;
use crate::wire::{FailReason, Requested};

/// The backend of a request, and what tells the request from others if it comes back
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
    let Requested { name, way, source, dest, .. } = requested;
    if let Some(dest) = *dest
        && shared.outgoing.is_loop(*source, dest, name)
    {
        if shared.may_log(name, Incident::Loop) {
            tracing::warn!(%id, %name, "a request came back to this peer: its backend leads to the listening peer");
        }
        return Err(FailReason::Loop);
    }
    let service = shared.config.services.get(name);
    let served = service.and_then(|service| Some((service, service.backend(*way)?)));
    let Some((service, backend)) = served else {
        if shared.may_log(asked, Incident::UnknownName) {
            tracing::warn!(%id, ?name, %way, "FORWARD for what this peer does not serve");
        }
        return Err(FailReason::UnknownName);
    };
    let within = shared.config.timing.backend_dial();
    let unreachable = |error: &dyn std::fmt::Display| {
        if shared.may_log(name, Incident::BackendUnreachable) {
            tracing::warn!(%id, %name, %source, %error, "cannot reach the backend; check its address, and that it is running");
        }
    };
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
