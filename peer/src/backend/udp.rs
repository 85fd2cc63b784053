//! Connects a request over UDP to its backend: finds its address, and opens a socket that
//! exchanges datagrams with that alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::time::{Instant, timeout_at};

use super::connect::{cannot_reach, looped, served};
use crate::mesh::outgoing::Registered;
use crate::names::{Name, ProxyId};
use crate::observe::LogSource;
use crate::shared::Shared;
use crate::stream::datagrams::ConnectedEnd;
use crate::stream::dial::{DialError, resolve};
use crate::stream::net::{Datagrams, Net};
use crate::wire::{FailReason, Requested};

/// The backend of a request over UDP, and what tells the request from others if it comes back
/// here. Who `asked` for a name that is not served here is logged.
///
/// Nothing is sent yet: whether anybody is there shows once the first datagram was.
///
/// # Errors
/// Why there is none, logged.
pub async fn connect_datagrams<N: Net>(
    shared: &Shared<N>,
    id: ProxyId,
    requested: &Requested,
    asked: impl Into<LogSource>,
) -> Result<(ConnectedEnd<N::Datagrams>, Option<Registered>), FailReason> {
    let Requested { name, source, dest, .. } = requested;
    if let Some(dest) = *dest
        && shared.outgoing.is_loop(*source, port_of(dest), name)
    {
        return Err(looped(shared, id, name));
    }
    let config = shared.config_of_now();
    let (_, backend) = served(shared, &config, id, requested, asked)?;
    let deadline = Instant::now() + shared.config().timing.backend_dial();
    let connecting = async {
        let found = resolve(&shared.resolver, backend, deadline).await?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for ip in &*found.ips {
            let addr = SocketAddr::new(*ip, backend.port);
            match timeout_at(deadline, shared.net.connect_udp(addr)).await {
                Ok(Ok(socket)) => return Ok((socket, addr)),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(DialError::Timeout(backend.clone())),
            }
        }
        Err(DialError::Connect(backend.clone(), last))
    };
    let (socket, addr) = connecting.await.map_err(|error: DialError| {
        cannot_reach(shared, id, name, *source, &error);
        error.fail_reason()
    })?;
    let local = socket.local_addr().ok();
    let outgoing = local.map(|local| shared.outgoing.register(local, port_of(addr), name));
    Ok((ConnectedEnd(socket), outgoing))
}

/// Logs that the backend of a request refuses datagrams.
pub fn refused_datagrams<N: Net>(shared: &Shared<N>, id: ProxyId, name: &Name, source: SocketAddr) {
    cannot_reach(shared, id, name, source, &"nobody receives datagrams at its port");
}

/// An address by which both ends of a way know where datagrams were sent: of a port that is
/// bound on all addresses, only its number is known.
fn port_of(addr: SocketAddr) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()))
}
