//! The Services of Kubernetes: only a peer that watches them has these.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::reasons::ServiceRefusal;
use super::registry::Metrics;
use crate::config::Namespace;

/// What is told of the Services of Kubernetes.
#[derive(Debug, Clone)]
pub struct KubernetesServices {
    /// Those that are served.
    served: IntGauge,
    /// Those that were refused, each once until it changes.
    refused: IntCounterVec,
    /// Whether changes are heard of: 1 or 0.
    watch_up: IntGaugeVec,
}

impl Metrics {
    /// Tells of the Services of Kubernetes. To be called once, by whoever watches them.
    pub fn export_kubernetes(&self) -> KubernetesServices {
        let opts = |name: &str, help: &str| {
            let (node, pod) = (&self.node, &self.pod);
            Opts::new(name, help).const_label("node", node).const_label("pod", pod)
        };
        let served = IntGauge::with_opts(opts(
            "ops_proxy_kubernetes_services",
            "Services of Kubernetes that this peer serves under at least one name.",
        ));
        let refused = IntCounterVec::new(
            opts(
                "ops_proxy_kubernetes_services_refused_total",
                "Annotated Services of Kubernetes that were left out, or one of their names, by reason; again whenever what is wrong changes.",
            ),
            &["reason"],
        );
        let watch_up = IntGaugeVec::new(
            opts(
                "ops_proxy_kubernetes_watch_up",
                "Per namespace: 1 = changes of its Services are followed, 0 = the Kubernetes API does not answer as it should, and what was known stays.",
            ),
            &["namespace"],
        );
        let served = served.expect("the name and labels are valid");
        let refused = refused.expect("the name and labels are valid");
        let watch_up = watch_up.expect("the name and labels are valid");
        let families: [Box<dyn Collector>; 3] =
            [Box::new(served.clone()), Box::new(refused.clone()), Box::new(watch_up.clone())];
        for family in families {
            self.registry.register(family).expect("this is exported once");
        }
        KubernetesServices { served, refused, watch_up }
    }
}

impl KubernetesServices {
    /// So many are served now.
    pub fn serves(&self, services: usize) {
        self.served.set(services as i64);
    }

    /// One was refused that was not before, or not like that.
    pub fn refused(&self, reason: ServiceRefusal) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// Whether changes in this namespace are heard of.
    pub fn watch_up(&self, namespace: &Namespace, up: bool) {
        self.watch_up.with_label_values(&[namespace.as_str()]).set(i64::from(up));
    }
}
