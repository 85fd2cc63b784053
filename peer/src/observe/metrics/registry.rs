//! Everything counted other than per name, and the registry that exports it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::exemplars::{AllExemplars, BUCKETS};
use super::families;
use super::format::Format;
use super::name_stats::NameStats;
use super::page::Page;
use super::read_counter::ReadCounter;
use super::reasons::{
    CheckResult, ClientFailure, DatagramLoss, HttpCode, IdleResult, LogReason, Protocol, Rejection,
};
use super::served::{Served, ServedFamilies, ServedStats, ServedTable};
use super::snapshot::Snapshot;
use crate::config::{Endpoint, PeerConfig};
use crate::names::{Name, ProxyId};
use crate::version;

/// Everything counted other than per name.
#[derive(Debug)]
pub struct Metrics {
    pub(super) registry: Registry,
    pub(super) node: String,
    pub(super) pod: String,
    listening: bool,
    rejected: IntCounterVec,
    unexpected: IntCounter,
    peer_id_conflicts: IntCounter,
    panics: IntCounter,
    log_suppressed: IntCounterVec,
    request_duration: HistogramVec,
    http_request_duration: Histogram,
    data_wait: Histogram,
    exemplars: AllExemplars,
    udp_dropped: IntCounterVec,
    idle_data: IntGauge,
    idle_data_forwards: IntCounterVec,
    client_idle_data: IntGauge,
    client_forwards: IntCounter,
    client_forwards_failed: IntCounterVec,
    client_active_forwards: IntGauge,
    client_link_up: IntGaugeVec,
    client_links_wanted: IntGaugeVec,
    client_links_held: IntGaugeVec,
    client_replaced: IntCounterVec,
    client_names_refused: IntGaugeVec,
    served: ServedTable,
    backend_up: IntGaugeVec,
    backend_checks: IntCounterVec,
    tls_reloads: IntCounter,
    tls_reload_failed: IntCounter,
    tls_expiry: IntGaugeVec,
    tls_list_expiry: IntGauge,
    /// For requests whose name is not known.
    other: NameStats,
}

impl Metrics {
    /// A registry of its own for the peer of this configuration.
    pub fn new(config: &PeerConfig) -> Self {
        let build = Builder { registry: Registry::new(), config };
        let listening = config.is_listening();
        let connecting = config.is_connecting();
        let encrypted = config.tls.is_set() || config.public_cert.is_some();
        if listening {
            build.info("server_info", families::SERVER_INFO_HELP);
        }
        if connecting {
            build.info("client_info", families::CLIENT_INFO_HELP);
        }
        build.build_info();
        let served = ServedTable::new();
        if connecting {
            let families = ServedFamilies::new(served.clone(), &config.node, &config.pod);
            build.registry.register(Box::new(families)).expect("this is exported once");
        }
        let backend_up = build.gauges(
            "backend_up",
            "Whether the backends of a service pass their checks (1) or it is withdrawn (0).",
            "client_name",
            true,
        );
        for (name, _) in config.services.iter().filter(|(_, one)| one.health.is_some()) {
            backend_up.with_label_values(&[name.as_str()]).set(1);
        }
        Self {
            rejected: build.counters(
                "rejected_total",
                "Connections and lines refused before they had a name.",
                "reason",
                true,
            ),
            unexpected: build.counter(
                "data_connections_unexpected_total",
                families::UNEXPECTED_HELP,
                listening,
            ),
            peer_id_conflicts: build.counter(
                "peer_id_conflicts_total",
                "Links opened under a peer id while another identity had one open under it.",
                listening,
            ),
            panics: build.counter("panics_total", "Tasks ended by a panic.", true),
            log_suppressed: build.counters(
                "log_lines_suppressed_total",
                "Log lines left out because one source caused too many of them; a summary follows.",
                "reason",
                true,
            ),
            request_duration: build.histograms(
                "request_duration_seconds",
                "Time from routing a request to its end.",
                "protocol",
                listening,
            ),
            http_request_duration: build.histogram(
                "http_request_duration_seconds",
                "Time from the head of an HTTP request to the end of its answer.",
                listening,
            ),
            data_wait: build.histogram(
                "data_wait_seconds",
                "Time from FORWARD to its DATA connection.",
                listening,
            ),
            exemplars: AllExemplars::default(),
            udp_dropped: build.counters(
                "udp_dropped_total",
                "Datagrams that came and were not carried on, by reason.",
                "reason",
                config.carries_datagrams(),
            ),
            idle_data: build.gauge(
                "idle_data_connections",
                "DATA connections dialled in advance that wait for a request.",
                listening,
            ),
            idle_data_forwards: build.counters(
                "idle_data_forwards_total",
                "FORWARD commands sent on an idle DATA connection, by result.",
                "result",
                listening,
            ),
            client_idle_data: build.gauge(
                "client_idle_data_connections",
                "Open DATA connections to listening peers that carry no request.",
                connecting,
            ),
            client_forwards: build.counter(
                "client_forwards_total",
                "FORWARD commands received from listening peers.",
                connecting,
            ),
            client_forwards_failed: build.counters(
                "client_forwards_failed_total",
                "FORWARD commands whose stream failed, by reason.",
                "reason",
                connecting,
            ),
            client_active_forwards: build.gauge(
                "client_active_forwards",
                "FORWARD commands being served now.",
                connecting,
            ),
            client_link_up: build.gauges(
                "client_link_up",
                "Whether the names are registered with this listening peer (1) or not (0).",
                "upstream",
                connecting,
            ),
            client_links_wanted: build.gauges(
                "client_links_wanted",
                "Links to keep to this upstream: one for each address of its host, or as many as configured.",
                "upstream",
                connecting,
            ),
            client_links_held: build.gauges(
                "client_links_held",
                "Links to this upstream on which the names are registered.",
                "upstream",
                connecting,
            ),
            client_replaced: build.counters(
                "client_replaced_total",
                "Links that ended because another process connected under the peer id of this one.",
                "upstream",
                connecting,
            ),
            client_names_refused: build.gauges(
                "client_names_refused",
                "Names that this listening peer refuses to register.",
                "upstream",
                connecting,
            ),
            served,
            backend_up,
            backend_checks: build.counters_by(
                "backend_checks_total",
                "Checks of the backends of a service, by result.",
                &["client_name", "result"],
                true,
            ),
            tls_reloads: build.counter(
                "tls_reloads_total",
                "Times that changed certificates, keys or tokens were loaded.",
                encrypted,
            ),
            tls_reload_failed: build.counter(
                "tls_reload_failed_total",
                "Times that changed certificates, keys or tokens were invalid; the old ones were kept.",
                encrypted,
            ),
            tls_expiry: build.gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of this kind expires, in seconds since the Unix epoch.",
                "certificate",
                encrypted,
            ),
            tls_list_expiry: build.gauge(
                "tls_revocation_list_expiry_timestamp_seconds",
                "When the first revocation list expires, in seconds since the Unix epoch; 0 if none says.",
                config.tls.crl.is_some(),
            ),
            other: NameStats::default(),
            node: config.node.clone(),
            pod: config.pod.clone(),
            listening,
            registry: build.registry,
        }
    }

    /// Something was refused before it had a name.
    pub fn rejected(&self, reason: Rejection) {
        self.rejected.with_label_values(&[reason.as_str()]).inc();
    }

    /// A DATA connection matched nothing.
    pub fn unexpected_data(&self) {
        self.unexpected.inc();
    }

    /// A link was opened under the peer id of another identity's link.
    pub fn peer_id_conflict(&self) {
        self.peer_id_conflicts.inc();
    }

    /// A task panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A log line about `reason` was left out.
    pub fn log_line_suppressed(&self, reason: LogReason) {
        self.log_suppressed.with_label_values(&[reason.as_str()]).inc();
    }

    /// Exports what `read` says, of a log that the process keeps: how many lines were
    /// lost. To be called once.
    pub fn export_lost_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let help = "Log lines lost because stderr was read too slowly, or could not be written.";
        self.export_read("ops_proxy_log_lines_dropped_total", help, read);
    }

    /// Exports how many spans were `sent` to the collector, and how many were `lost`. To be
    /// called once, by whoever sends them.
    pub fn export_spans(
        &self,
        sent: impl Fn() -> u64 + Send + Sync + 'static,
        lost: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let help = "Spans that the collector has taken.";
        self.export_read("ops_proxy_spans_sent_total", help, sent);
        let help = "Spans that the collector did not take, or for which there was no room.";
        self.export_read("ops_proxy_spans_lost_total", help, lost);
    }

    fn export_read(&self, name: &str, help: &str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let opts = Opts::new(name, help);
        let opts = opts.const_label("node", &self.node).const_label("pod", &self.pod);
        let counter = ReadCounter::new(opts, read).expect("the name and labels are valid");
        self.registry.register(Box::new(counter)).expect("this is exported once");
    }

    /// Tells of the process as well: the families `process_*`, as the kernel has them. To be
    /// called once, by whoever has the process to himself.
    pub fn export_process(&self) {
        let process = Box::new(ProcessCollector::for_self());
        self.registry.register(process).expect("this is exported once");
    }

    /// A request ended, `duration` after it was routed.
    pub fn request_ended(&self, id: ProxyId, protocol: Protocol, duration: Duration) {
        self.exemplars.requests[protocol as usize].observe(id, duration);
        self.request_duration
            .with_label_values(&[protocol.as_str()])
            .observe(duration.as_secs_f64());
    }

    /// An HTTP request for the name of `stats` ended, `duration` after its head was read.
    /// `status` is what was sent to its client, if anything was; one that was never routed has
    /// no id.
    pub fn exchanged(
        &self,
        id: Option<ProxyId>,
        stats: &NameStats,
        status: Option<u16>,
        duration: Duration,
    ) {
        stats.exchanged(HttpCode::of(status));
        if let Some(id) = id {
            self.exemplars.http.observe(id, duration);
        }
        self.http_request_duration.observe(duration.as_secs_f64());
    }

    /// How many HTTP requests have ended.
    pub fn exchange_count(&self) -> u64 {
        self.http_request_duration.get_sample_count()
    }

    /// A DATA connection came, `waited` after its FORWARD.
    pub fn data_matched(&self, id: ProxyId, waited: Duration) {
        self.exemplars.data_wait.observe(id, waited);
        self.data_wait.observe(waited.as_secs_f64());
    }

    /// So many datagrams were not carried on.
    pub fn datagrams_lost(&self, reason: DatagramLoss, datagrams: usize) {
        if datagrams > 0 {
            self.udp_dropped.with_label_values(&[reason.as_str()]).inc_by(datagrams as u64);
        }
    }

    /// What came of a FORWARD that was sent down an idle DATA connection.
    pub fn idle_data_forward(&self, result: IdleResult) {
        self.idle_data_forwards.with_label_values(&[result.as_str()]).inc();
    }

    /// The connecting side keeps this many more idle DATA connections, or fewer.
    pub fn client_idle_data(&self, change: i64) {
        self.client_idle_data.add(change);
    }

    /// The connecting side took a FORWARD.
    pub fn client_forward_began(&self) {
        self.client_forwards.inc();
        self.client_active_forwards.inc();
    }

    /// The connecting side is done with a FORWARD.
    pub fn client_forward_ended(&self, outcome: Result<(), ClientFailure>) {
        if let Err(reason) = outcome {
            self.client_forwards_failed.with_label_values(&[reason.as_str()]).inc();
        }
        self.client_active_forwards.dec();
    }

    /// The counters of what is served for `upstream`: of this service, or of those that are
    /// none of this peer's.
    pub fn served(&self, service: Option<&Name>, upstream: &Endpoint) -> Arc<ServedStats> {
        self.served.of(service, upstream)
    }

    /// What was served for others, by name.
    pub fn served_by_name(&self) -> BTreeMap<String, Served> {
        self.served.by_name()
    }

    /// What was served of all services; and of all that listening peers have sent, what was
    /// passed on included, without bytes.
    pub fn served_in_all(&self) -> (Served, Served) {
        let failed = self.client_forwards_failed.collect();
        let failed = failed.iter().flat_map(|family| family.get_metric());
        let sent_here = Served {
            total: self.client_forwards.get(),
            failed: failed.map(|of_reason| of_reason.get_counter().get_value() as u64).sum(),
            active: self.client_active_forwards.get() as u64,
            ..Served::default()
        };
        (self.served.sum(), sent_here)
    }

    /// Forgets what was served under names that are none of this peer's any more.
    pub fn keep_served(&self, is_served: impl Fn(&str) -> bool) {
        self.served.keep(is_served);
    }

    /// So many links to `upstream` are to be kept, and so many are up.
    pub fn client_links(&self, upstream: &Endpoint, wanted: usize, held: usize) {
        let label = [upstream.to_string()];
        self.client_link_up.with_label_values(&label).set(i64::from(held > 0));
        self.client_links_wanted.with_label_values(&label).set(wanted as i64);
        self.client_links_held.with_label_values(&label).set(held as i64);
    }

    /// No links to `upstream` are to be kept any more.
    pub fn forget_upstream(&self, upstream: &Endpoint) {
        self.served.forget(upstream);
        let label = [upstream.to_string()];
        // What was never counted is not there.
        let _ = self.client_link_up.remove_label_values(&label);
        let _ = self.client_links_wanted.remove_label_values(&label);
        let _ = self.client_links_held.remove_label_values(&label);
        let _ = self.client_replaced.remove_label_values(&label);
        let _ = self.client_names_refused.remove_label_values(&label);
    }

    /// A link to `upstream` was replaced by that of another process.
    pub fn client_replaced(&self, upstream: &Endpoint) {
        self.client_replaced.with_label_values(&[upstream.to_string()]).inc();
    }

    /// `upstream` does not let us register so many of our names.
    pub fn client_names_refused(&self, upstream: &Endpoint, names: usize) {
        self.client_names_refused.with_label_values(&[&upstream.to_string()]).set(names as i64);
    }

    /// The backends of the service `name` were checked.
    pub fn backend_checked(&self, name: &Name, result: CheckResult) {
        self.backend_checks.with_label_values(&[name.as_str(), result.as_str()]).inc();
    }

    /// The backends of the service `name` count as up now, or as down.
    pub fn backend_up(&self, name: &Name, up: bool) {
        self.backend_up.with_label_values(&[name.as_str()]).set(i64::from(up));
    }

    /// A service is not checked any more.
    pub fn forget_backend(&self, name: &Name) {
        // What was never set is not there.
        let _ = self.backend_up.remove_label_values(&[name.as_str()]);
    }

    /// Changed TLS files were loaded.
    pub fn tls_reloaded(&self) {
        self.tls_reloads.inc();
    }

    /// Changed TLS files could not be loaded.
    pub fn tls_reload_failed(&self) {
        self.tls_reload_failed.inc();
    }

    /// A certificate of kind `which` ends to be valid `at` this many seconds
    /// since the Unix epoch.
    pub fn tls_expiry(&self, which: &'static str, at: i64) {
        self.tls_expiry.with_label_values(&[which]).set(at);
    }

    /// When the first revocation list expires, in seconds since the epoch.
    pub fn tls_list_expiry(&self, at: i64) {
        self.tls_list_expiry.set(at);
    }

    /// Whether the names are registered with `upstream`.
    pub fn is_link_up(&self, upstream: &Endpoint) -> bool {
        self.client_link_up.with_label_values(&[&upstream.to_string()]).get() == 1
    }

    /// The counters of names that are not known.
    pub fn other(&self) -> &NameStats {
        &self.other
    }

    /// How many DATA connections matched nothing.
    pub fn unexpected_count(&self) -> u64 {
        self.unexpected.get()
    }

    /// How many tasks panicked.
    pub fn panic_count(&self) -> u64 {
        self.panics.get()
    }

    /// Prometheus text format 0.0.4, families and series in order.
    pub fn render(&self, snapshot: &Snapshot) -> String {
        self.page(snapshot, Format::Text).collect()
    }

    /// Like [`render`](Self::render), in chunks, for a page that must not be entirely
    /// in memory.
    pub fn page<S: Borrow<Snapshot>>(&self, snapshot: S, format: Format) -> Page<S> {
        self.idle_data.set(snapshot.borrow().idle_data as i64);
        let scope = (self.node.as_str(), self.pod.as_str());
        let gathered = self.registry.gather();
        Page::new((&gathered, &self.exemplars), snapshot, scope, self.listening, format)
    }
}

/// Builds families with the labels common to all. A family without meaning for this
/// peer is built but not exported.
struct Builder<'a> {
    pub(super) registry: Registry,
    config: &'a PeerConfig,
}

impl Builder<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("ops_proxy_{name}"), help)
            .const_label("node", &self.config.node)
            .const_label("pod", &self.config.pod)
    }

    fn export<C: Collector + Clone + 'static>(
        &self,
        built: prometheus::Result<C>,
        exported: bool,
    ) -> C {
        let family = built.expect("family names and labels are constants and valid");
        if exported {
            self.registry
                .register(Box::new(family.clone()))
                .expect("each family is registered once");
        }
        family
    }

    fn info(&self, name: &str, help: &str) {
        self.gauge(name, help, true).set(1);
    }

    fn build_info(&self) {
        let mut opts = self
            .opts("build_info", "The version of this peer (always 1).")
            .const_label("version", version::NUMBER);
        if let Some(commit) = version::commit() {
            opts = opts.const_label("commit", commit);
        }
        self.export(IntGauge::with_opts(opts), true).set(1);
    }

    fn gauge(&self, name: &str, help: &str, exported: bool) -> IntGauge {
        self.export(IntGauge::with_opts(self.opts(name, help)), exported)
    }

    fn gauges(&self, name: &str, help: &str, label: &str, exported: bool) -> IntGaugeVec {
        self.export(IntGaugeVec::new(self.opts(name, help), &[label]), exported)
    }

    fn counter(&self, name: &str, help: &str, exported: bool) -> IntCounter {
        self.export(IntCounter::with_opts(self.opts(name, help)), exported)
    }

    fn counters(&self, name: &str, help: &str, label: &str, exported: bool) -> IntCounterVec {
        self.counters_by(name, help, &[label], exported)
    }

    fn counters_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        exported: bool,
    ) -> IntCounterVec {
        self.export(IntCounterVec::new(self.opts(name, help), labels), exported)
    }

    fn histogram(&self, name: &str, help: &str, exported: bool) -> Histogram {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(BUCKETS.to_vec());
        self.export(Histogram::with_opts(opts), exported)
    }

    fn histograms(&self, name: &str, help: &str, label: &str, exported: bool) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(BUCKETS.to_vec());
        self.export(HistogramVec::new(opts, &[label]), exported)
    }
}
