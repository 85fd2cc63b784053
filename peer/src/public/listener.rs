//! Accepts public connections.
//!
//! The accept loops never wait for a stranger: every connection is a task of its
//! own, with one absolute deadline for its first bytes.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::{Instant, sleep};

use super::connection::{Connection, Port};
use crate::limits::{ACCEPT_BACKOFF, HEAD_DEADLINE};
use crate::observe::LogSource;
use crate::observe::metrics::{Incident, Rejection};
use crate::shared::Shared;
use crate::stream::dial::is_out_of_resources;
use crate::stream::net::{Listener, Net};
use crate::stream::transport::Transport;
use crate::workers::Place;

/// Accepts until the task is ended, but for while another process does.
pub async fn accept_loop<N: Net>(shared: Arc<Shared<N>>, listener: Arc<N::Listener>, port: Port) {
    loop {
        shared.accepting.unless_handed_over(accept(&shared, &*listener, &port)).await;
    }
}

/// Accepts. Cancel safe.
async fn accept<N: Net>(shared: &Arc<Shared<N>>, listener: &N::Listener, port: &Port) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => {
                let trusted = shared.trusts(source.ip());
                let entered = match trusted {
                    true => Ok(shared.admission.enter_proxy(source.ip())),
                    false => shared.admission.enter(source.ip()),
                };
                let Ok(ticket) = entered else {
                    shared.metrics.rejected(Rejection::ConnectionLimit);
                    tracing::debug!(%source, "closed a connection: at the connection limit");
                    continue;
                };
                let connection = Connection {
                    ticket,
                    dest: shared.net.local_addr(&stream).ok(),
                    stream: Transport::Plain(stream),
                    source,
                    head: BytesMut::new(),
                    deadline: Instant::now() + HEAD_DEADLINE,
                    was_greeted: false,
                    accepted: Place::here(),
                    front: None,
                    shared: shared.clone(),
                };
                let place = shared.tasks.workers().for_accepted();
                shared.spawn_at(place, connection.serve(port.clone(), trusted));
            }
            Err(error) => {
                if is_out_of_resources(&error) {
                    shared.metrics.rejected(Rejection::FdLimit);
                    shared.mesh.drop_idle();
                    shared.admission.displace();
                }
                if shared.may_log(LogSource::Anyone, Incident::Accept) {
                    tracing::warn!(%error, "cannot accept connections; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}
