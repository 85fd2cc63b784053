//! How a peer ends: what it still takes, what it waits for, and what it cuts.

use std::future::pending;

use tokio::time::{sleep, timeout};

use crate::limits::{CLOSE_GRACE, DRAIN_SETTLE};
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;

/// Returns when the peer was told to end, and has.
pub(super) async fn drained<N: Net>(shared: &Shared<N>) {
    shared.tasks.entered(Phase::Draining).await;
    drain(shared).await;
    // What is cut gets the time to be reset rather than closed cleanly.
    shared.tasks.enter(Phase::Closing);
    let ended = async {
        shared.tasks.idle().await;
        shared.tasks.left().await;
    };
    let _ = timeout(CLOSE_GRACE, ended).await;
    shared.provoked.summarise();
}

/// Takes new requests for the grace, then lets running ones end within the
/// limit. A peer that only connects is done as soon as none runs. The accept loops live on:
/// DATA connections still come through them. Nobody waits for connections that have asked
/// for nothing.
async fn drain<N: Net>(shared: &Shared<N>) {
    let timing = shared.config().timing;
    let drained = async {
        // Whoever balances the load needs time to see that we are not ready.
        sleep(timing.drain_grace).await;
        shared.tasks.enter(Phase::Finishing);
        // What has arrived by now is still to be read and answered.
        let settle = DRAIN_SETTLE.min(timing.drain_limit);
        sleep(settle).await;
        if timeout(timing.drain_limit - settle, shared.tasks.idle()).await.is_err() {
            tracing::warn!("drain limit reached; cutting the requests that still run");
        }
    };
    // Links end when nothing comes through them any more.
    let left = async {
        if shared.config().is_listening() {
            pending::<()>().await;
        }
        shared.tasks.left().await;
        shared.tasks.idle().await;
    };
    tokio::select! {
        biased;
        () = shared.tasks.entered(Phase::Closing) => {}
        () = left => {}
        () = drained => {}
    }
}
