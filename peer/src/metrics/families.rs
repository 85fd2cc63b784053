//! The families that carry a `client_name`, and their contract: names, labels,
//! types and help as in the user's metrics document.
//!
//! A name that was only registered has its registry families. The traffic
//! families follow, zeros included, with its first request; the tunnel families
//! with its first FORWARD.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{ForwardFailure, NameRow, Protocol, ProxyError, Snapshot};

pub(super) const SERVER_INFO_HELP: &str = "Peer listening process info metric (always 1). Useful for Grafana variables / target discovery.";
pub(super) const CLIENT_INFO_HELP: &str = "Peer connecting process info metric (always 1). Useful for Grafana variables / target discovery.";
pub(super) const UNEXPECTED_HELP: &str =
    "DATA connections that arrived with no pending proxy_id on the server.";

/// The label of what belongs to no known name. No name can be called so.
const OTHER: &str = "_other";

/// All families of this snapshot that have a series.
pub(super) fn of_names(snapshot: &Snapshot, node: &str, pod: &str) -> Vec<MetricFamily> {
    let labels = Labels { node, pod };
    let up = snapshot.names.iter().filter(|row| !row.providers.is_empty()).count();
    let mut families = Families { labels: &labels, all: Vec::new() };
    families.gauge(
        "clients_total",
        "Total number of registered routing names (services) in this listening peer instance.",
        snapshot.names.len() as f64,
    );
    families.gauge(
        "clients_connected",
        "Number of currently connected routing names (services) in this listening peer instance.",
        up as f64,
    );
    families.gauge(
        "pending_data_connections",
        "Current number of pending proxy-ids waiting for DATA connection.",
        snapshot.pending as f64,
    );
    families.gauge("links", "Open links of connecting peers.", snapshot.links as f64);
    families.registry(&snapshot.names);
    families.traffic(&snapshot.names);
    families.requests(&snapshot.names);
    families.tunnel(&snapshot.names);
    families.errors(snapshot);
    families.all
}

struct Labels<'a> {
    node: &'a str,
    pod: &'a str,
}

impl Labels<'_> {
    /// `client_name` and at most one more, in the order of the text format.
    fn with(&self, name: Option<&str>, extra: Option<(&str, &str)>) -> Vec<LabelPair> {
        let mut labels = vec![pair("node", self.node), pair("pod", self.pod)];
        labels.extend(name.map(|name| pair("client_name", name)));
        labels.extend(extra.map(|(label, value)| pair(label, value)));
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        labels
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

struct Families<'a> {
    labels: &'a Labels<'a>,
    all: Vec<MetricFamily>,
}

/// One series: its name, its further label, its value.
type Series<'r> = (&'r str, Option<(&'static str, &'static str)>, f64);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let metric = gauge(self.labels.with(None, None), value);
        self.family(name, help, MetricType::GAUGE, vec![metric]);
    }

    fn gauges<'r>(&mut self, name: &str, help: &str, series: impl Iterator<Item = Series<'r>>) {
        let metrics =
            series.map(|(name, extra, value)| gauge(self.labels.with(Some(name), extra), value));
        let metrics = metrics.collect();
        self.family(name, help, MetricType::GAUGE, metrics);
    }

    fn counters<'r>(&mut self, name: &str, help: &str, series: impl Iterator<Item = Series<'r>>) {
        let metrics = series.map(|(name, extra, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(self.labels.with(Some(name), extra));
            metric.set_counter(counter);
            metric
        });
        let metrics = metrics.collect();
        self.family(name, help, MetricType::COUNTER, metrics);
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("ops_proxy_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.all.push(family);
    }

    fn registry(&mut self, names: &[NameRow]) {
        self.gauges(
            "client_up",
            "Per-name connection status: 1 = connected, 0 = disconnected.",
            names.iter().map(|row| {
                (row.name.as_str(), None, if row.providers.is_empty() { 0.0 } else { 1.0 })
            }),
        );
        let registered = || names.iter().filter(|row| row.counts.registrations > 0);
        self.counters(
            "client_registrations_total",
            "Total REGISTER refreshes received for a routing name (service).",
            registered().map(|row| plain(row, row.counts.registrations)),
        );
        self.counters(
            "client_disconnects_total",
            "Total disconnect/unregister events for a routing name (service).",
            registered().map(|row| plain(row, row.counts.disconnects)),
        );
    }

    fn traffic(&mut self, names: &[NameRow]) {
        let routed = || names.iter().filter(|row| row.counts.requests_in_all().0 > 0);
        self.counters(
            "connections_total",
            "Total number of proxy connections routed to a name.",
            routed().map(|row| plain(row, row.counts.requests_in_all().0)),
        );
        self.gauges(
            "connections_active",
            "Current number of in-flight proxy requests for a name.",
            routed().map(|row| plain(row, row.counts.active)),
        );
        self.counters(
            "connections_failed_total",
            "Total number of failed proxy connections for a name.",
            routed().map(|row| plain(row, row.counts.requests_in_all().2)),
        );
        self.counters(
            "connections_bytes_tx_total",
            "Total bytes transmitted (server → client → backend direction, aggregated).",
            routed().map(|row| plain(row, row.counts.bytes_tx)),
        );
        self.counters(
            "connections_bytes_rx_total",
            "Total bytes received (backend → client → server direction, aggregated).",
            routed().map(|row| plain(row, row.counts.bytes_rx)),
        );
    }

    fn requests(&mut self, names: &[NameRow]) {
        let by_protocol = || {
            names.iter().flat_map(|row| {
                let each = Protocol::ALL.iter().zip(row.counts.requests);
                let routed = each.filter(|(_, requests)| requests.total > 0);
                routed.map(|(protocol, requests)| {
                    (row.name.as_str(), Some(("protocol", protocol.as_str())), requests)
                })
            })
        };
        self.counters(
            "requests_total",
            "Total number of proxy requests by protocol (http / https / tcp).",
            by_protocol().map(|(name, label, one)| (name, label, one.total as f64)),
        );
        self.counters(
            "requests_success_total",
            "Successful proxy requests.",
            by_protocol().map(|(name, label, one)| (name, label, one.success as f64)),
        );
        self.counters(
            "requests_failed_total",
            "Failed proxy requests.",
            by_protocol().map(|(name, label, one)| (name, label, one.failed as f64)),
        );
        let answered = by_protocol().filter(|(_, _, one)| one.latency_count > 0);
        self.gauges(
            "latency_seconds",
            "Average latency in seconds (derived from internal sum/count).",
            answered.map(|(name, label, one)| {
                (name, label, one.latency_sum.as_secs_f64() / one.latency_count as f64)
            }),
        );
    }

    fn tunnel(&mut self, names: &[NameRow]) {
        let forwarded = || names.iter().filter(|row| row.counts.forwards > 0);
        self.counters(
            "forward_commands_total",
            "Total FORWARD commands sent (each proxy request should generate one).",
            forwarded().map(|row| plain(row, row.counts.forwards)),
        );
        self.counters(
            "data_connections_matched_total",
            "DATA connections successfully matched to a pending proxy_id.",
            forwarded().map(|row| plain(row, row.counts.matched)),
        );
        self.counters(
            "data_connections_timeout_total",
            "Timeouts waiting for a DATA connection after sending FORWARD.",
            forwarded().map(|row| plain(row, row.counts.timed_out)),
        );
        self.counters(
            "forwards_failed_total",
            "FORWARD commands that ended by FAIL or with their link, by reason.",
            names.iter().flat_map(|row| {
                let reasons = ForwardFailure::ALL.iter().map(|reason| reason.as_str());
                by_reason(&row.name, reasons, &row.counts.forwards_failed)
            }),
        );
    }

    fn errors(&mut self, snapshot: &Snapshot) {
        let names = snapshot.names.iter().map(|row| (row.name.as_str(), &row.counts.errors));
        let all = std::iter::once((OTHER, &snapshot.other.errors)).chain(names);
        self.counters(
            "proxy_errors_total",
            "Error counter by reason.",
            all.flat_map(|(name, errors)| {
                by_reason(name, ProxyError::ALL.iter().map(|reason| reason.as_str()), errors)
            }),
        );
    }
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn plain(row: &NameRow, value: u64) -> Series<'_> {
    (&row.name, None, value as f64)
}

/// A series for each reason that has happened.
fn by_reason<'r>(
    name: &'r str,
    reasons: impl Iterator<Item = &'static str>,
    counts: &'r [u64],
) -> impl Iterator<Item = Series<'r>> {
    let each = reasons.zip(counts).filter(|(_, count)| **count > 0);
    each.map(move |(reason, count)| (name, Some(("reason", reason)), *count as f64))
}
