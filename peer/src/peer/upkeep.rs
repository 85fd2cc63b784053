//! What a peer looks after by itself, from its start or from time to time.

use std::sync::Arc;

use tokio::time::{sleep, timeout};

use crate::limits::{FORGET_INTERVAL, LOG_SUMMARY_INTERVAL, NAMES_LOGGED, TLS_RELOAD_INTERVAL};
use crate::names::Name;
use crate::shared::Shared;
use crate::stream::net::Net;

/// Returns when all names that are expected are there, or when that has taken too long.
pub(super) async fn warm_up<N: Net>(shared: &Shared<N>) {
    let expected = shared.mesh.expected();
    if expected == 0 {
        return;
    }
    let mut changes = shared.mesh.changes();
    let back = async { while shared.mesh.expected() > 0 && changes.changed().await.is_ok() {} };
    let warm_up = shared.config().timing.warm_up;
    tracing::info!(names = expected, "waiting for the names that are expected to be registered");
    let _ = timeout(warm_up, back).await;
    let missing = shared.mesh.stop_expecting();
    if missing.is_empty() {
        return tracing::info!(names = expected, "all names that are expected are registered");
    }
    let first: Vec<&str> = missing.iter().map(Name::as_str).take(NAMES_LOGGED).collect();
    let (names, first) = (missing.len(), first.join(", "));
    let waited = humantime::format_duration(warm_up);
    tracing::warn!(names, %first, %waited, "names that are expected were not registered in time; clients get 503 for them until they are");
}

pub(super) async fn forget_names<N: Net>(shared: Arc<Shared<N>>) {
    loop {
        let retention = shared.config().timing.name_retention;
        sleep(retention.min(FORGET_INTERVAL)).await;
        shared.mesh.forget_names(retention);
    }
}

pub(super) async fn summarise_log<N: Net>(shared: Arc<Shared<N>>) {
    loop {
        sleep(LOG_SUMMARY_INTERVAL).await;
        shared.provoked.summarise();
    }
}

pub(super) async fn watch_tls_files<N: Net>(shared: Arc<Shared<N>>) {
    if shared.tls.is_none() && shared.front.is_none() {
        return;
    }
    loop {
        // Asked for or not: whichever comes first.
        let _ = timeout(TLS_RELOAD_INTERVAL, shared.reload.notified()).await;
        if let Some(tls) = &shared.tls {
            tls.reload(&shared.net, &shared.metrics);
        }
        if let Some(front) = &shared.front {
            front.reload(&shared.net, &shared.metrics);
        }
    }
}
