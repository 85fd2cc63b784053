//! Whether the backends of a service pass their checks, as far as that can be told from
//! outside.

use std::time::Duration;

use ops_proxy::config::{Endpoint, Health, Probe};

use crate::mesh::Mesh;
use crate::scenario::BackendKind;

/// What the checks of a service must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wellness {
    /// Nothing is checked, or every check must pass.
    Well,
    /// Every check must fail.
    Ill,
    /// Something is in the way of a check, or slow.
    Unclear,
}

/// How `name` is checked by the peer on `host`.
pub(super) fn health_of(mesh: &Mesh, host: &str, name: &str) -> Option<Health> {
    let offer = mesh.scenario().peers.get(host)?.offers.get(name)?;
    offer.health.as_ref()?.health().ok()
}

/// When a service whose checks all fail must be withdrawn.
pub(super) fn falls_within(health: &Health) -> Duration {
    health.every * health.fall + health.timeout
}

/// What the checks of `name` by the peer on `host` must find.
pub(super) fn wellness(mesh: &Mesh, host: &str, name: &str) -> Wellness {
    let Some(health) = health_of(mesh, host, name) else { return Wellness::Well };
    let peer = &mesh.scenario().peers[host];
    let offer = &peer.offers[name];
    let common = peer.services.get(name);
    let asked = offer.own.get("http").or(common);
    let mut all = Wellness::Well;
    for backend in common.into_iter().chain(offer.own.values()) {
        let by_http = matches!(health.probe, Probe::Http { .. }) && Some(backend) == asked;
        match backend_wellness(mesh, host, backend, &health, by_http) {
            Wellness::Well => {}
            Wellness::Ill => return Wellness::Ill,
            Wellness::Unclear => all = Wellness::Unclear,
        }
    }
    all
}

fn backend_wellness(
    mesh: &Mesh,
    host: &str,
    backend: &str,
    health: &Health,
    by_http: bool,
) -> Wellness {
    let Ok(Endpoint { host: name, port }) = backend.parse() else { return Wellness::Unclear };
    let hosts = mesh.hosts_of(&name);
    let [at] = hosts.as_slice() else { return Wellness::Unclear };
    let Some(spec) = mesh.backend(at).filter(|spec| spec.port == port) else {
        return Wellness::Unclear;
    };
    if !mesh.is_open(host, at) {
        return Wellness::Unclear;
    }
    if !mesh.is_running(at) || matches!(spec.kind, BackendKind::Refusing | BackendKind::Hanging) {
        return Wellness::Ill;
    }
    match (by_http, spec.kind) {
        (false, _) => Wellness::Well,
        (true, BackendKind::Mute) => Wellness::Ill,
        (true, BackendKind::Http) => {
            let delay = spec.delay.map_or(Duration::ZERO, |delay| delay.0);
            match delay * 4 < health.timeout && spec.rate.is_none() {
                true => Wellness::Well,
                false => Wellness::Unclear,
            }
        }
        (true, BackendKind::Scripted) if spec.says.starts_with("HTTP/1.1 5") => Wellness::Ill,
        (true, _) => Wellness::Unclear,
    }
}
