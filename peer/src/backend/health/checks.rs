//! Checks a service for as long as the peer runs, and withdraws it while it fails.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};

use super::judge::Judge;
use super::probe::probe;
use crate::config::{Health, Service};
use crate::names::Name;
use crate::observe::metrics::CheckResult;
use crate::offer::Offer;
use crate::shared::Shared;
use crate::stream::net::Net;

/// Checks the service `name`, if that is asked for, until the task is ended.
pub async fn keep_checking<N: Net>(shared: Arc<Shared<N>>, name: Name) {
    let Some(service) = shared.config.services.get(&name) else { return };
    let Some(health) = &service.health else { return };
    let mut judge = Judge::new(health.fall, health.rise);
    let mut next = Instant::now();
    let mut is_first = true;
    loop {
        sleep_until(next).await;
        let began = Instant::now();
        check(&shared, &name, service, health, &mut judge).await;
        // Services that were first checked together are not checked together for ever.
        let wait = if is_first { share_of(health.every, shared.random()) } else { health.every };
        is_first = false;
        next = began + wait;
    }
}

/// A random share of `whole`, in thousandths, and not nothing.
fn share_of(whole: Duration, random: u64) -> Duration {
    let thousandths = u32::try_from(random % 1000 + 1).expect("1000 at most");
    whole * thousandths / 1000
}

async fn check<N: Net>(
    shared: &Shared<N>,
    name: &Name,
    service: &Service,
    health: &Health,
    judge: &mut Judge,
) {
    let turn = shared.health.turns.acquire().await;
    let checked = probe(shared, name, service, health).await;
    drop(turn);
    let result = checked.as_ref().map_or_else(|failed| failed.result(), |()| CheckResult::Ok);
    shared.metrics.backend_checked(name, result);
    // For want of descriptors here, nothing was learnt of the backend.
    if result == CheckResult::Overloaded {
        return;
    }
    let is_up = judge.take(checked.is_ok());
    let failure = checked.as_ref().err().map(|failed| failed.to_string().into());
    shared.metrics.backend_up(name, is_up);
    if !shared.health.checked(name, is_up, failure) {
        return;
    }
    match checked {
        Err(reason) => {
            tracing::warn!(%name, %reason, "backend is down: the service is withdrawn until its checks pass");
            shared.mesh.withdraw_local(name, health.retry_after());
        }
        Ok(()) => {
            tracing::info!(%name, "backend is up again: the service is back");
            let terms = service.terms.clone();
            shared.mesh.return_local(Offer { name: name.clone(), terms });
        }
    }
}
