//! Takes from the successor of this process the DATA connections that this one has asked
//! for: the listening address is the successor's.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::handshake::PeerConnection;
use crate::handover::{Secret, Shown};
use crate::limits::{ACCEPT_BACKOFF, HEAD_DEADLINE};
use crate::observe::LogSource;
use crate::observe::metrics::Incident;
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};

/// Takes what is passed back through `listener`, by one who knows `secret`, until the task is
/// ended.
pub async fn take_back<N: Net>(shared: Arc<Shared<N>>, listener: Arc<N::Listener>, secret: Secret) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (taken, secret) = (shared.clone(), secret.clone());
                shared.spawn(serve(taken, stream, secret));
            }
            Err(error) => {
                if shared.may_log(LogSource::Anyone, Incident::Accept) {
                    tracing::warn!(%error, "cannot take connections from the process that has taken over; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn serve<N: Net>(shared: Arc<Shared<N>>, mut stream: N::Stream, secret: Secret) {
    let deadline = Instant::now() + HEAD_DEADLINE;
    match timeout(HEAD_DEADLINE, Shown::read(&mut stream, &secret)).await {
        Ok(Ok(shown)) => {
            let ticket = shared.admission.enter_proxy(shown.source.ip());
            PeerConnection::serve_passed_back(shared, stream, shown, deadline, ticket).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "refused what is no connection passed back"),
        Err(_) => tracing::debug!("a connection that was to be passed back said nothing in time"),
    }
}
