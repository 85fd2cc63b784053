//! Checks a service for as long as that is asked for, and withdraws it while it fails.

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

/// Checks the service `name` for as long as that is asked for.
pub async fn keep_checking<N: Net>(shared: Arc<Shared<N>>, name: Name) {
    let mut reconfigurations = shared.reconfigurations();
    let mut next = Instant::now();
    let mut is_first = true;
    let mut judged: Option<(Health, Judge)> = None;
    loop {
        tokio::select! {
            biased;
            // Whether it is still to be checked, and how, is seen at once.
            Ok(()) = reconfigurations.changed() => {}
            () = sleep_until(next) => {}
        }
        let config = shared.config_of_now();
        let service = config.services.get(&name);
        let checked = service.and_then(|service| Some((service, service.health.as_ref()?)));
        let Some((service, health)) = checked else {
            return shared.metrics.forget_backend(&name);
        };
        let judge = match &mut judged {
            Some((before, judge)) if before == health => judge,
            // As it is checked from now on, nothing is known of it yet.
            judged => {
                next = Instant::now();
                &mut judged.insert((health.clone(), Judge::new(health.fall, health.rise))).1
            }
        };
        if Instant::now() < next {
            continue;
        }
        let began = Instant::now();
        check(&shared, &name, service, health, judge).await;
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
            // As they are by now: the check took a while.
            if let Some(service) = shared.config().services.get(name) {
                let terms = service.terms.clone();
                shared.mesh.return_local(Offer { name: name.clone(), terms });
            }
        }
    }
}
