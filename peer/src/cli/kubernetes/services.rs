//! The Services of Kubernetes beside those of the settings: found, judged, and told about.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::api::Api;
use super::claims::{Claims, Refused, judge};
use super::cluster::Cluster;
use super::watch::{Known, Watch};
use crate::config::{ConfigError, Namespace, PeerConfig, Service};
use crate::limits::{
    KUBERNETES_FIRST, KUBERNETES_REFUSAL_CHARS, KUBERNETES_REFUSALS_LOGGED, KUBERNETES_SETTLE,
    NAMES_PER_LINK,
};
use crate::names::Name;
use crate::observe::metrics::KubernetesServices;
use crate::peer::PeerHandle;
use crate::stream::net::tokio::TokioNet;
use crate::trust::Permission;

/// What is known of the Services of some namespaces, and what was made of it.
pub(in crate::cli) struct Services {
    known: watch::Receiver<Known>,
    /// Something has changed since the last look.
    has_changed: bool,
    handle: PeerHandle<TokioNet>,
    looks: watch::Receiver<()>,
    /// What the last look went by.
    permission: Permission,
    metrics: KubernetesServices,
    /// What was served and refused after the last look.
    served: BTreeMap<Name, Service>,
    refused: Refused,
}

impl Services {
    /// Begins to follow these namespaces.
    ///
    /// # Errors
    /// It is not known where the API is, or how to show there who this peer is.
    pub(in crate::cli) fn follow(
        namespaces: &BTreeSet<Namespace>,
        handle: &PeerHandle<TokioNet>,
    ) -> Result<Self, ConfigError> {
        let cluster = Cluster::infer(|name| std::env::var(name).ok())?;
        let api = Arc::new(Api::new(cluster));
        let metrics = handle.export_kubernetes();
        let none: Known = namespaces.iter().map(|one| (one.clone(), None)).collect();
        let known = Arc::new(watch::Sender::new(none));
        let receiver = known.subscribe();
        for namespace in namespaces.iter().cloned() {
            let (api, known, metrics) = (api.clone(), known.clone(), metrics.clone());
            let watch = Watch { api, namespace, known, metrics };
            handle.keep("the watch of a namespace", move || watch.clone().keep());
        }
        Ok(Self {
            known: receiver,
            has_changed: false,
            looks: handle.looks_at_tls(),
            permission: handle.permission(),
            handle: handle.clone(),
            metrics,
            served: BTreeMap::new(),
            refused: Refused::new(),
        })
    }

    /// Returns once it is known what there is, or that has taken too long.
    pub(in crate::cli) async fn first(&mut self) {
        let is_known = |known: &Known| known.values().all(Option::is_some);
        let came = timeout(KUBERNETES_FIRST, self.known.wait_for(is_known)).await;
        if came.is_err() {
            let waited = humantime::format_duration(KUBERNETES_FIRST);
            tracing::warn!(%waited, "the Kubernetes API has not said in time which Services there are; starting without them");
        }
    }

    /// Returns when there may be something else to serve, a moment later: many changes are one.
    /// Cancel safe.
    pub(in crate::cli) async fn changed(&mut self) {
        while !self.has_changed {
            tokio::select! {
                biased;
                Ok(()) = self.known.changed() => self.has_changed = true,
                Ok(()) = self.looks.changed() => {
                    self.has_changed = !self.handle.permission().is_same(&self.permission);
                }
                // The peer has ended.
                else => pending().await,
            }
        }
        sleep(KUBERNETES_SETTLE).await;
    }

    /// Adds to `config` what is to be served. Whether that is something else than before.
    pub(in crate::cli) fn add_to(&mut self, config: &mut PeerConfig) -> bool {
        self.has_changed = false;
        self.permission = self.handle.permission();
        let known = self.known.borrow_and_update();
        let annotated = known.values().flatten().flat_map(BTreeMap::values);
        let most = NAMES_PER_LINK.saturating_sub(config.services.len());
        let permits = |name: &Name| self.permission.permits(name);
        let Claims { services, served, refused } =
            judge(annotated, &config.services, permits, most);
        drop(known);
        self.metrics.serves(served);
        self.tell(&refused);
        self.refused = refused;
        config.services.extend(services.clone());
        let is_new = services != self.served;
        if is_new {
            let names = services.len();
            tracing::info!(services = served, names, "the Services of Kubernetes have changed");
        }
        self.served = services;
        is_new
    }

    /// Logs and counts what was not refused like this before.
    fn tell(&self, refused: &Refused) {
        let is_new = |(key, problem): &(&_, &_)| self.refused.get(*key) != Some(*problem);
        let mut unsaid = 0_usize;
        for (index, ((service, reason), problem)) in refused.iter().filter(is_new).enumerate() {
            self.metrics.refused(*reason);
            if index < KUBERNETES_REFUSALS_LOGGED {
                let problem: String = problem.chars().take(KUBERNETES_REFUSAL_CHARS).collect();
                tracing::warn!(%service, %reason, %problem, "a Service of Kubernetes is refused; it is looked at again when it changes");
            } else {
                unsaid += 1;
            }
        }
        if unsaid > 0 {
            tracing::warn!(
                services = unsaid,
                "more Services of Kubernetes are refused; mend those above to see the next ones"
            );
        }
    }
}
