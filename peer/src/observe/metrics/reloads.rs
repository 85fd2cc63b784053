//! How often the configuration was read again: only a process with files has these.

use prometheus::{IntCounter, IntGauge, Opts};

use super::registry::Metrics;

/// How often the configuration was read again.
#[derive(Debug)]
pub struct ConfigReloads {
    /// Those that were invalid.
    failed: IntCounter,
    /// Whether the last was valid: 1 or 0.
    last_successful: IntGauge,
    /// When the last was valid, in seconds since the Unix epoch.
    last_success: IntGauge,
}

impl Metrics {
    /// Counts how often the configuration was read again. To be called once, by whoever
    /// does.
    pub fn export_config_reloads(&self) -> ConfigReloads {
        let opts = |name: &str, help: &str| {
            let (node, pod) = (&self.node, &self.pod);
            Opts::new(name, help).const_label("node", node).const_label("pod", pod)
        };
        let failed = IntCounter::with_opts(opts(
            "ops_proxy_config_reload_failed_total",
            "Times that a changed configuration was invalid; the old one was kept.",
        ));
        let successful = IntGauge::with_opts(opts(
            "ops_proxy_config_last_reload_successful",
            "1 = the configuration in force is the one in the files, 0 = the files have a fault.",
        ));
        let last = IntGauge::with_opts(opts(
            "ops_proxy_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read without a fault, in seconds since the Unix epoch.",
        ));
        let failed = failed.expect("the name and labels are valid");
        let last_success = last.expect("the name and labels are valid");
        let last_successful = successful.expect("the name and labels are valid");
        let families: [Box<dyn prometheus::core::Collector>; 3] = [
            Box::new(failed.clone()),
            Box::new(last_successful.clone()),
            Box::new(last_success.clone()),
        ];
        for family in families {
            self.registry.register(family).expect("this is exported once");
        }
        ConfigReloads { failed, last_successful, last_success }
    }
}

impl ConfigReloads {
    /// The files were read at `now`, in seconds since the Unix epoch, and are in force.
    pub fn succeeded(&self, now: i64) {
        self.last_successful.set(1);
        self.last_success.set(now);
    }

    /// The files were read, and have a fault.
    pub fn failed(&self) {
        self.failed.inc();
        self.last_successful.set(0);
    }
}
