//! What the connecting side has served for others: by name, and by the upstream that asked.
//!
//! A pair of the two has its series from its first FORWARD on, zeros included, until the
//! configuration knows one of them no longer. What is passed on to another peer is not served
//! here: it is counted as requests that are routed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::page::OTHER;
use crate::config::Endpoint;
use crate::lock::Lock;
use crate::names::Name;

/// What was served, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// FORWARDs that were taken.
    pub total: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Those that still run.
    pub active: u64,
    /// Payload bytes, client to backend.
    pub sent: u64,
    /// The same, backend to client.
    pub received: u64,
}

/// The counters of one name for one upstream.
#[derive(Debug)]
pub struct ServedStats {
    /// Without the bytes, which are counted without the lock.
    requests: Lock<Served>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl ServedStats {
    fn new() -> Self {
        Self {
            requests: Lock::new("the counters of what is served", Served::default()),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
        }
    }

    /// A FORWARD was taken.
    pub fn began(&self) {
        let mut requests = self.requests.lock();
        requests.total += 1;
        requests.active += 1;
    }

    /// It has ended.
    pub fn ended(&self, has_failed: bool) {
        let mut requests = self.requests.lock();
        requests.failed += u64::from(has_failed);
        requests.active -= 1;
    }

    /// Payload went to the backend.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Payload came from the backend.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    fn snapshot(&self) -> Served {
        let (sent, received) = (self.sent.load(Relaxed), self.received.load(Relaxed));
        Served { sent, received, ..*self.requests.lock() }
    }
}

impl Served {
    /// Adds what was served for another upstream.
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.failed += other.failed;
        self.active += other.active;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// By name; of each, by upstream, of which there are few.
type ByName = BTreeMap<String, Vec<(Endpoint, Arc<ServedStats>)>>;

/// The counters of all names and upstreams.
#[derive(Debug, Clone)]
pub(super) struct ServedTable(Arc<Lock<ByName>>);

impl ServedTable {
    pub(super) fn new() -> Self {
        Self(Arc::new(Lock::new("the table of what is served", ByName::new())))
    }

    /// The counters of a service, or of those that are none.
    pub(super) fn of(&self, service: Option<&Name>, upstream: &Endpoint) -> Arc<ServedStats> {
        let name = service.map_or(OTHER, Name::as_str);
        let mut by_name = self.0.lock();
        if !by_name.contains_key(name) {
            by_name.insert(name.to_owned(), Vec::new());
        }
        let pairs = by_name.get_mut(name).expect("it was put there");
        if let Some((_, stats)) = pairs.iter().find(|(of, _)| of == upstream) {
            return stats.clone();
        }
        let stats = Arc::new(ServedStats::new());
        pairs.push((upstream.clone(), stats.clone()));
        stats
    }

    /// Of each name, what was served for all upstreams.
    pub(super) fn by_name(&self) -> BTreeMap<String, Served> {
        let summed = |pairs: &Vec<(Endpoint, Arc<ServedStats>)>| {
            let mut sum = Served::default();
            pairs.iter().for_each(|(_, stats)| sum.add(stats.snapshot()));
            sum
        };
        self.0.lock().iter().map(|(name, pairs)| (name.clone(), summed(pairs))).collect()
    }

    /// What was served in all.
    pub(super) fn sum(&self) -> Served {
        let mut sum = Served::default();
        self.by_name().into_values().for_each(|of_name| sum.add(of_name));
        sum
    }

    /// Forgets all services but those.
    pub(super) fn keep(&self, is_served: impl Fn(&str) -> bool) {
        self.0.lock().retain(|name, _| name == OTHER || is_served(name));
    }

    /// Forgets an upstream.
    pub(super) fn forget(&self, upstream: &Endpoint) {
        self.0.lock().retain(|_, pairs| {
            pairs.retain(|(of, _)| of != upstream);
            !pairs.is_empty()
        });
    }
}

/// Name, help and value of a family.
type Counter = (&'static str, &'static str, fn(&Served) -> u64);

const COUNTERS: [Counter; 4] = [
    (
        "ops_proxy_client_requests_total",
        "FORWARD commands for a service of this peer, by the listening peer that sent them.",
        |served| served.total,
    ),
    (
        "ops_proxy_client_requests_failed_total",
        "FORWARD commands for a service of this peer that failed.",
        |served| served.failed,
    ),
    (
        "ops_proxy_client_bytes_tx_total",
        "Payload bytes sent to the backends of a service (client → backend direction).",
        |served| served.sent,
    ),
    (
        "ops_proxy_client_bytes_rx_total",
        "Payload bytes received from the backends of a service (backend → client direction).",
        |served| served.received,
    ),
];

const ACTIVE: (&str, &str) = (
    "ops_proxy_client_requests_active",
    "FORWARD commands for a service of this peer that are being served now.",
);

const LABELS: [&str; 2] = ["client_name", "upstream"];

/// Reads the table at each scrape: all numbers of a pair are of one moment.
pub(super) struct ServedFamilies {
    table: ServedTable,
    node: String,
    pod: String,
    descs: Vec<Desc>,
}

impl ServedFamilies {
    pub(super) fn new(table: ServedTable, node: &str, pod: &str) -> Self {
        let (node, pod) = (node.to_owned(), pod.to_owned());
        let mut families = Self { table, node, pod, descs: Vec::new() };
        let (counters, active) = families.build();
        let described = counters.iter().flat_map(Collector::desc).chain(active.desc());
        families.descs = described.cloned().collect();
        families
    }

    fn build(&self) -> ([IntCounterVec; COUNTERS.len()], IntGaugeVec) {
        let opts = |name, help| {
            Opts::new(name, help).const_label("node", &self.node).const_label("pod", &self.pod)
        };
        let counters = COUNTERS.map(|(name, help, _)| {
            IntCounterVec::new(opts(name, help), &LABELS).expect("the name and labels are valid")
        });
        let active = IntGaugeVec::new(opts(ACTIVE.0, ACTIVE.1), &LABELS);
        (counters, active.expect("the name and labels are valid"))
    }
}

impl Collector for ServedFamilies {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (counters, active) = self.build();
        for (name, pairs) in self.table.0.lock().iter() {
            for (upstream, stats) in pairs {
                let (served, labels) = (stats.snapshot(), [name, &upstream.to_string()]);
                for (counter, (_, _, value)) in counters.iter().zip(COUNTERS) {
                    counter.with_label_values(&labels).inc_by(value(&served));
                }
                active.with_label_values(&labels).set(served.active as i64);
            }
        }
        counters.iter().flat_map(Collector::collect).chain(active.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    fn series(table: &ServedTable) -> Vec<String> {
        let families = ServedFamilies::new(table.clone(), "n", "p").collect();
        let text = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.map(|line| line.replace(",node=\"n\",pod=\"p\"", "")).collect()
    }

    #[test]
    fn each_pair_of_name_and_upstream_has_its_own_numbers() {
        let table = ServedTable::new();
        let (app, one, two) = ("app".parse().unwrap(), endpoint("one:1"), endpoint("two:2"));
        let stats = table.of(Some(&app), &one);
        stats.began();
        stats.sent(3);
        stats.received(5);
        stats.began();
        stats.ended(true);
        table.of(Some(&app), &two).began();
        table.of(None, &two).began();
        table.of(None, &two).ended(true);
        let sum = Served { total: 3, failed: 1, active: 2, sent: 3, received: 5 };
        assert_eq!(table.by_name()["app"], sum);
        let series = series(&table);
        let said = |line: &str| assert!(series.contains(&line.to_owned()), "{line}\n{series:#?}");
        said("ops_proxy_client_requests_total{client_name=\"app\",upstream=\"one:1\"} 2");
        said("ops_proxy_client_requests_failed_total{client_name=\"app\",upstream=\"one:1\"} 1");
        said("ops_proxy_client_requests_active{client_name=\"app\",upstream=\"one:1\"} 1");
        said("ops_proxy_client_bytes_tx_total{client_name=\"app\",upstream=\"one:1\"} 3");
        said("ops_proxy_client_bytes_rx_total{client_name=\"app\",upstream=\"one:1\"} 5");
        said("ops_proxy_client_requests_total{client_name=\"app\",upstream=\"two:2\"} 1");
        said("ops_proxy_client_requests_failed_total{client_name=\"_other\",upstream=\"two:2\"} 1");
        assert_eq!(series.len(), 3 * 5);
    }

    #[test]
    fn what_the_configuration_knows_no_longer_has_no_series() {
        let table = ServedTable::new();
        let (app, old) = ("app".parse().unwrap(), "old".parse().unwrap());
        for upstream in [endpoint("one:1"), endpoint("two:2")] {
            for service in [Some(&app), Some(&old), None] {
                table.of(service, &upstream).began();
            }
        }
        table.keep(|name| name == "app");
        table.forget(&endpoint("one:1"));
        let names: Vec<String> = table.by_name().into_keys().collect();
        assert_eq!(names, ["_other", "app"]);
        assert_eq!(series(&table).len(), 2 * 5);
        table.forget(&endpoint("two:2"));
        let mut families = ServedFamilies::new(table, "n", "p").collect().into_iter();
        assert!(families.all(|family| family.get_metric().is_empty()));
    }
}
