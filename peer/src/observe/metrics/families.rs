//! The families with a `client_name`, and their contract: names, labels, types and help
//! are as in the user's metrics document.
//!
//! A name that is only registered has the registry families. The traffic families
//! appear, zeros included, with its first request; the tunnel families with its first
//! FORWARD.

use super::format::Format;
use super::name_stats::{Counts, PerProtocol};
use super::reasons::{ForwardFailure, HttpCode, Protocol, ProxyError};
use super::series::{Kind, PerName, Series, put, write_head};
use super::snapshot::{NameRow, Snapshot};
use crate::limits::LINKED_PEERS_SHOWN;

pub(super) const SERVER_INFO_HELP: &str = "Peer listening process info metric (always 1). Useful for Grafana variables / target discovery.";
pub(super) const CLIENT_INFO_HELP: &str = "Peer connecting process info metric (always 1). Useful for Grafana variables / target discovery.";
pub(super) const UNEXPECTED_HELP: &str =
    "DATA connections that arrived with no pending proxy_id on the server.";

/// A gauge of the whole peer.
pub(super) struct OfPeer {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) help: &'static str,
    /// Its value.
    pub(super) value: u64,
}

/// Read from the tables, as the names are.
pub(super) fn of_peer(snapshot: &Snapshot) -> [OfPeer; 6] {
    let up = snapshot.names.iter().filter(|row| !row.providers.is_empty()).count();
    [
        OfPeer {
            name: "ops_proxy_clients_total",
            help: "Total number of registered routing names (services) in this listening peer instance.",
            value: snapshot.names.len() as u64,
        },
        OfPeer {
            name: "ops_proxy_clients_connected",
            help: "Number of currently connected routing names (services) in this listening peer instance.",
            value: up as u64,
        },
        OfPeer {
            name: "ops_proxy_pending_data_connections",
            help: "Current number of pending proxy-ids waiting for DATA connection.",
            value: snapshot.pending,
        },
        OfPeer {
            name: "ops_proxy_links",
            help: "Open links of connecting peers.",
            value: snapshot.links,
        },
        OfPeer {
            name: "ops_proxy_names_expected",
            help: "Names that are expected after a start and have not been registered yet; 0 once the warm-up is over.",
            value: snapshot.expected,
        },
        OfPeer {
            name: "ops_proxy_requests_held",
            help: "Requests that wait for a provider to come back.",
            value: snapshot.held,
        },
    ]
}

const PEER_LINKS: &str = "ops_proxy_peer_links";

/// The peers that have no series of their own in it. No peer can be called this.
const OTHER_PEERS: &str = "(other)";

/// Name and text of the family that tells of the links of each connecting peer; nothing where
/// none has any. `node` and `pod` are escaped.
pub(super) fn of_links(
    snapshot: &Snapshot,
    (node, pod): (&str, &str),
    format: Format,
) -> Option<(&'static str, String)> {
    let (shown, others) =
        snapshot.links_by_peer.split_at(snapshot.links_by_peer.len().min(LINKED_PEERS_SHOWN));
    let others: u64 = others.iter().map(|(_, links)| links).sum();
    let others = (others > 0).then_some((OTHER_PEERS, others));
    let shown = shown.iter().map(|(peer, links)| (peer.as_str(), *links));
    let mut text = String::new();
    for (peer, links) in shown.chain(others) {
        if text.is_empty() {
            let help = "Open links of each connecting peer, its instances together.";
            write_head(&mut text, PEER_LINKS, help, Kind::Gauge, format);
        }
        let labels = format_args!("node=\"{node}\",peer=\"{peer}\",pod=\"{pod}\"");
        put(&mut text, format_args!("{PEER_LINKS}{{{labels}}} {links}\n"));
    }
    (!text.is_empty()).then_some((PEER_LINKS, text))
}

const HTTP_REQUESTS: &str = "ops_proxy_http_requests_total";
pub(super) const PROXY_ERRORS: &str = "ops_proxy_proxy_errors_total";

/// The families that also count events of unknown names.
pub(super) const WITH_OTHER: [&str; 2] = [HTTP_REQUESTS, PROXY_ERRORS];

/// All of them, in no particular order.
pub(super) static PER_NAME: [PerName; 18] = [
    PerName {
        name: "ops_proxy_client_up",
        help: "Per-name connection status: 1 = connected, 0 = disconnected.",
        kind: Kind::Gauge,
        of: |row, series| series.add(u64::from(!row.providers.is_empty())),
    },
    PerName {
        name: "ops_proxy_client_registrations_total",
        help: "Total REGISTER refreshes received for a routing name (service).",
        kind: Kind::Counter,
        of: |row, series| {
            if row.counts.registrations > 0 {
                series.add(row.counts.registrations);
            }
        },
    },
    PerName {
        name: "ops_proxy_client_disconnects_total",
        help: "Total disconnect/unregister events for a routing name (service).",
        kind: Kind::Counter,
        of: |row, series| {
            if row.counts.registrations > 0 {
                series.add(row.counts.disconnects);
            }
        },
    },
    PerName {
        name: "ops_proxy_connections_total",
        help: "Total number of proxy connections routed to a name.",
        kind: Kind::Counter,
        of: |row, series| if_routed(row, series, |counts| counts.requests_in_all().0),
    },
    PerName {
        name: "ops_proxy_connections_active",
        help: "Current number of in-flight proxy requests for a name.",
        kind: Kind::Gauge,
        of: |row, series| if_routed(row, series, |counts| counts.active),
    },
    PerName {
        name: "ops_proxy_connections_failed_total",
        help: "Total number of failed proxy connections for a name.",
        kind: Kind::Counter,
        of: |row, series| if_routed(row, series, |counts| counts.requests_in_all().2),
    },
    PerName {
        name: "ops_proxy_connections_bytes_tx_total",
        help: "Total bytes transmitted (server → client → backend direction, aggregated).",
        kind: Kind::Counter,
        of: |row, series| if_routed(row, series, |counts| counts.bytes_tx),
    },
    PerName {
        name: "ops_proxy_connections_bytes_rx_total",
        help: "Total bytes received (backend → client → server direction, aggregated).",
        kind: Kind::Counter,
        of: |row, series| if_routed(row, series, |counts| counts.bytes_rx),
    },
    PerName {
        name: "ops_proxy_requests_total",
        help: "Total number of proxy requests by protocol (http / https / tcp).",
        kind: Kind::Counter,
        of: |row, series| by_protocol(row, |protocol, one| series.add_with(protocol, one.total)),
    },
    PerName {
        name: HTTP_REQUESTS,
        help: "HTTP requests that have ended, by the class of their answer's status.",
        kind: Kind::Counter,
        of: |row, series| {
            let codes = HttpCode::ALL.iter().map(|code| code.as_str());
            by_word(series, "code", codes, &row.counts.exchanges);
        },
    },
    PerName {
        name: "ops_proxy_requests_success_total",
        help: "Successful proxy requests.",
        kind: Kind::Counter,
        of: |row, series| by_protocol(row, |protocol, one| series.add_with(protocol, one.success)),
    },
    PerName {
        name: "ops_proxy_requests_failed_total",
        help: "Failed proxy requests.",
        kind: Kind::Counter,
        of: |row, series| by_protocol(row, |protocol, one| series.add_with(protocol, one.failed)),
    },
    PerName {
        name: "ops_proxy_latency_seconds",
        help: "Average latency in seconds (derived from internal sum/count).",
        kind: Kind::Gauge,
        of: |row, series| {
            by_protocol(row, |protocol, one| {
                if one.latency_count > 0 {
                    let mean = one.latency_sum.as_secs_f64() / one.latency_count as f64;
                    series.add_with(protocol, mean);
                }
            });
        },
    },
    PerName {
        name: "ops_proxy_forward_commands_total",
        help: "Total FORWARD commands sent (each proxy request should generate one).",
        kind: Kind::Counter,
        of: |row, series| if_forwarded(row, series, |counts| counts.forwards),
    },
    PerName {
        name: "ops_proxy_data_connections_matched_total",
        help: "DATA connections successfully matched to a pending proxy_id.",
        kind: Kind::Counter,
        of: |row, series| if_forwarded(row, series, |counts| counts.matched),
    },
    PerName {
        name: "ops_proxy_data_connections_timeout_total",
        help: "Timeouts waiting for a DATA connection after sending FORWARD.",
        kind: Kind::Counter,
        of: |row, series| if_forwarded(row, series, |counts| counts.timed_out),
    },
    PerName {
        name: "ops_proxy_forwards_failed_total",
        help: "FORWARD commands that ended by FAIL or with their link, by reason.",
        kind: Kind::Counter,
        of: |row, series| {
            let reasons = ForwardFailure::ALL.iter().map(|reason| reason.as_str());
            by_word(series, "reason", reasons, &row.counts.forwards_failed);
        },
    },
    PerName {
        name: PROXY_ERRORS,
        help: "Error counter by reason.",
        kind: Kind::Counter,
        of: |row, series| {
            let reasons = ProxyError::ALL.iter().map(|reason| reason.as_str());
            by_word(series, "reason", reasons, &row.counts.errors);
        },
    },
];

fn if_routed(row: &NameRow, series: &mut Series<'_>, value: fn(&Counts) -> u64) {
    if row.counts.requests.iter().any(|one| one.total > 0) {
        series.add(value(&row.counts));
    }
}

fn if_forwarded(row: &NameRow, series: &mut Series<'_>, value: fn(&Counts) -> u64) {
    if row.counts.forwards > 0 {
        series.add(value(&row.counts));
    }
}

/// A series for each protocol that a request for this name used.
fn by_protocol(row: &NameRow, mut add: impl FnMut((&'static str, &'static str), &PerProtocol)) {
    for (protocol, one) in Protocol::ALL.iter().zip(&row.counts.requests) {
        if one.total > 0 {
            add(("protocol", protocol.as_str()), one);
        }
    }
}

/// A series for each word of a label that has occurred.
fn by_word(
    series: &mut Series<'_>,
    label: &'static str,
    words: impl Iterator<Item = &'static str>,
    counts: &[u64],
) {
    for (word, count) in words.zip(counts).filter(|(_, count)| **count > 0) {
        series.add_with((label, word), *count);
    }
}
