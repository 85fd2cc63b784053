//! Whether two worlds have counted the same at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::{Exported, Series};

/// The families that must be the same in both worlds. Of the others, some measure time
/// (durations, waits, latencies, and registrations, which are repeated as heartbeats), some
/// the process (memory, files, the build), and some what is kept in reserve (idle DATA
/// connections).
const COMPARED: [&str; 30] = [
    "client_disconnects_total",
    "client_up",
    "clients_connected",
    "clients_total",
    "connections_active",
    "connections_bytes_rx_total",
    "connections_bytes_tx_total",
    "connections_failed_total",
    "connections_total",
    "data_connections_matched_total",
    "data_connections_timeout_total",
    "data_connections_unexpected_total",
    "forward_commands_total",
    "forwards_failed_total",
    "http_requests_total",
    "links",
    "names_expected",
    "panics_total",
    "peer_id_conflicts_total",
    "pending_data_connections",
    "proxy_errors_total",
    "rejected_total",
    "requests_failed_total",
    "requests_held",
    "requests_success_total",
    "requests_total",
    "server_info",
    "udp_dropped_total",
    "client_replaced_total",
    "client_names_refused",
];

/// Bytes of a request that failed midway depend on when that was.
const BYTES: [&str; 2] = ["connections_bytes_rx_total", "connections_bytes_tx_total"];

/// The label by which series are of one name.
const NAME: &str = "client_name";

type Key = (String, BTreeMap<String, String>);

/// Whether the last values of this family are compared.
pub(super) fn is_compared(family: &str) -> bool {
    COMPARED.contains(&family)
}

/// The first series that is not the same, but for `uncompared` families.
pub(super) fn difference<'a>(
    simulated: &Exported,
    real: &Exported,
    uncompared: impl Iterator<Item = &'a String> + Clone,
) -> Option<String> {
    let is_compared =
        |family: &str| is_compared(family) && !uncompared.clone().any(|one| one == family);
    let values = |exported: &Exported| -> BTreeMap<Key, f64> {
        let of = exported.series().filter(|series| is_compared(&series.name));
        of.map(|series| ((series.name.clone(), series.labels.clone()), series.value)).collect()
    };
    let broken: BTreeSet<String> = broken(simulated).chain(broken(real)).collect();
    let (simulated, real) = (values(simulated), values(real));
    let keys: BTreeSet<&Key> = simulated.keys().chain(real.keys()).collect();
    let value = |of: &BTreeMap<Key, f64>, key: &Key| of.get(key).copied().unwrap_or(0.0);
    let is_vague = |(family, labels): &Key| {
        BYTES.contains(&family.as_str())
            && labels.get(NAME).is_some_and(|name| broken.contains(name))
    };
    let differs = |key: &&&Key| value(&simulated, key) != value(&real, key) && !is_vague(key);
    keys.iter().find(differs).map(|key| {
        let (name, labels) = (key.0.clone(), key.1.clone());
        let series = Series { name, labels, value: value(&real, key) };
        format!("{} is {}, not {}", series.key(), series.value, value(&simulated, key))
    })
}

/// The names of which a request has failed.
fn broken(exported: &Exported) -> impl Iterator<Item = String> {
    let failed = exported.series().filter(|series| series.name == "requests_failed_total");
    let failed = failed.filter(|series| series.value > 0.0);
    failed.filter_map(|series| series.labels.get(NAME).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(lines: &[&str]) -> Exported {
        Exported::parse(&lines.iter().map(|line| format!("ops_proxy_{line}\n")).collect::<String>())
            .unwrap()
    }

    #[test]
    fn what_depends_on_time_is_not_compared_and_what_is_missing_is_none() {
        let none = std::iter::empty::<&String>;
        let one = exported(&["links{pod=\"a\"} 1", "latency_seconds 0.2"]);
        let other = exported(&["links{pod=\"b\"} 1", "requests_held 0", "latency_seconds 0.1"]);
        assert_eq!(difference(&one, &other, none()), None);
        let third = exported(&["links 2"]);
        assert_eq!(difference(&one, &third, none()).as_deref(), Some("links{} is 2, not 1"));
        let links = ["links".to_owned()];
        assert_eq!(difference(&one, &third, links.iter()), None);
    }

    #[test]
    fn bytes_count_unless_a_request_for_the_name_has_failed() {
        let none = std::iter::empty::<&String>;
        let bytes = |count| format!("connections_bytes_rx_total{{client_name=\"a\"}} {count}");
        let [one, other] = [1, 2].map(|count| exported(&[&bytes(count)]));
        assert!(difference(&one, &other, none()).is_some());
        let failed = "requests_failed_total{client_name=\"a\"} 1";
        let [one, other] = [1, 2].map(|count| exported(&[&bytes(count), failed]));
        assert_eq!(difference(&one, &other, none()), None);
    }
}
