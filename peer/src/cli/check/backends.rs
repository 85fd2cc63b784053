//! Dials the backends of the services, as a request or their health check would.

use crate::backend::health::{Failed, probe};
use crate::config::{Endpoint, Service};
use crate::names::Name;
use crate::offer::Way;
use crate::shared::Shared;
use crate::stream::dial::{DialError, dial as dial_backend};
use crate::stream::net::Net;

use super::steps::Step;

const PART: &str = "backend";

/// Dials the backends of all services, one after the other.
pub(super) async fn dial<N: Net>(shared: &Shared<N>) -> Vec<Step> {
    let config = shared.config_of_now();
    let mut steps = Vec::new();
    for (name, service) in &config.services {
        steps.extend(dial_service(shared, name, service).await);
    }
    steps
}

async fn dial_service<N: Net>(shared: &Shared<N>, name: &Name, service: &Service) -> Vec<Step> {
    let what = name.as_str();
    let mut steps = Vec::new();
    if let Some(backend) = service.backend(Way::Udp) {
        let why = format!("{backend}: whether a backend of UDP is there, only its answers tell");
        steps.push(Step::unknown(what, PART, why));
    }
    if let Some(health) = &service.health {
        steps.push(match probe(shared, name, service, health).await {
            Ok(()) => Step::good(what, PART, format!("its check has passed: {health}")),
            Err(error) => Step::failed(what, PART, failed_check(&error)),
        });
        return steps;
    }
    let is_stream = |backend: &&Endpoint| {
        let ways = service.terms.ways.iter().filter(|way| *way != Way::Udp);
        ways.into_iter().any(|way| service.backend(way) == Some(*backend))
    };
    for backend in service.backends().into_iter().filter(is_stream) {
        let within = shared.config().timing.backend_dial();
        steps.push(match dial_backend(&shared.resolver, backend, within).await {
            Ok(_) => Step::good(what, PART, format!("{backend} accepts connections")),
            Err(error) => Step::failed(what, PART, unreachable(&error)),
        });
    }
    steps
}

fn failed_check(error: &Failed) -> String {
    match error {
        Failed::Dial(error) => unreachable(error),
        other => format!("{other}; look at the backend, and at health of this service"),
    }
}

fn unreachable(error: &DialError) -> String {
    let remedy = match error {
        DialError::Resolve(..) => "correct its host, or this machine's DNS",
        DialError::Unresolved(_) => return error.to_string(),
        DialError::Connect(..) => "start the backend, or correct its address in service",
        DialError::Timeout(_) => "look for a firewall in between, or correct its address",
    };
    format!("{error}; {remedy}")
}
