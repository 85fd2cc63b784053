//! How often the configuration was read again: only a process with files has these.

use prometheus::{IntCounter, IntGauge, Opts};

use super::registry::Metrics;

/// How often the configuration was read again.
#[derive(Debug)]
pub struct ConfigReloads {
    /// Those that were invalid.
    pub failed: IntCounter,
    /// When the last was valid, in seconds since the Unix epoch.
    pub last_success: IntGauge,
}

impl Metrics {
    /// Counts how often the configuration was read again. To be called once, by whoever
    /// does.
    pub fn export_config_reloads(&self) -> ConfigReloads {
        let opts = |name: &str, help: &str| {
            let (node, pod) = (&self.node, &self.pod);
            Opts::new(format!("ops_proxy_{name}"), help)
                .const_label("node", node)
                .const_label("pod", pod)
        };
        let failed = IntCounter::with_opts(opts(
            "config_reload_failed_total",
            "Times that a changed configuration was invalid; the old one was kept.",
        ));
        let last = IntGauge::with_opts(opts(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last read without a fault, in seconds since the Unix epoch.",
        ));
        let failed = failed.expect("the name and labels are valid");
        let last_success = last.expect("the name and labels are valid");
        let families: [Box<dyn prometheus::core::Collector>; 2] =
            [Box::new(failed.clone()), Box::new(last_success.clone())];
        for family in families {
            self.registry.register(family).expect("this is exported once");
        }
        ConfigReloads { failed, last_success }
    }
}
