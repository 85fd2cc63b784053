//! Which states a run has reached: a check that never saw a fault bite, or an
//! error happen, has shown nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{Ending, Outcome};
use crate::mesh::Mesh;
use crate::network::{Bulk, State};
use crate::scenario::steps::{Request, Via};
use crate::tap::Idled;

/// What a long exploration should see at least once of each kind.
const SOMETIMES: &[&str] = &[
    "step request",
    "step hold",
    "step partition",
    "step lose",
    "step crash",
    "step drain",
    "step dns",
    "step backend",
    "step latency",
    "step raw",
    "step replace",
    "step reload",
    "step configure",
    "step freeze",
    "step stop",
    "client http 200",
    "client http 400",
    "client http 404",
    "client http 502",
    "client http 503",
    "client http 504",
    "client http 508",
    "exchange 101",
    "exchange 200",
    "exchange 204",
    "exchange 304",
    "exchange 400",
    "exchange 404",
    "exchange 502",
    "exchange 503",
    "exchange 504",
    "exchange 508",
    "exchange behind an empty line",
    "told of a client",
    "told of a client with false claims",
    "told by a trusted proxy",
    "told by a trusted proxy with claims",
    "streams whole",
    "streams of another name",
    "streams refused 404",
    "streams refused 502",
    "streams refused 503",
    "streams refused 504",
    "streams failed",
    "streams left",
    "client stream whole",
    "client hello in records",
    "client failed",
    "client left",
    "client gave up",
    "client alert",
    "client datagrams whole",
    "client datagrams lost",
    "metric proxy_errors_total no_client",
    "metric proxy_errors_total data_timeout",
    "metric proxy_errors_total data_io_error",
    "metric proxy_errors_total backend_unreachable",
    "metric proxy_errors_total link_lost",
    "metric proxy_errors_total client_reset",
    "metric proxy_errors_total loop",
    "metric forwards_failed_total backend_refused",
    "metric forwards_failed_total backend_timeout",
    "metric forwards_failed_total link_lost",
    "metric forwards_failed_total client_reset",
    "metric forwards_failed_total loop",
    "metric forwards_failed_total unknown_name",
    "metric client_forwards_failed_total backend_refused",
    "metric client_forwards_failed_total backend_timeout",
    "metric client_forwards_failed_total data_dial",
    "metric client_forwards_failed_total data_io_error",
    "metric client_forwards_failed_total loop",
    "metric client_forwards_failed_total unknown_name",
    "metric backend_checks_total ok",
    "metric backend_checks_total refused",
    "metric backend_checks_total timeout",
    "metric backend_checks_total unresolved",
    "metric data_connections_timeout_total",
    "metric data_connections_unexpected_total",
    "metric client_disconnects_total",
    "metric idle_data_forwards_total answered",
    "metric idle_data_forwards_total stale",
    "metric idle_data_forwards_total late",
    "metric rejected_total idle_data",
    "metric rejected_total bad_h2",
    "metric rejected_total bad_line",
    "metric rejected_total bad_name",
    "metric rejected_total bad_head",
    "metric rejected_total bad_framing",
    "metric rejected_total bad_sni",
    "metric rejected_total bad_client_hello",
    "metric rejected_total head_incomplete",
    "metric rejected_total proxy_protocol",
    "metric rejected_total unknown_protocol",
    "metric rejected_total unsupported_version",
    "metric rejected_total way_not_offered",
    "metric rejected_total head_timeout",
    "metric rejected_total handshake_timeout",
    "metric rejected_total unexpected_command",
    "metric rejected_total draining",
    "metric rejected_total auth_failed",
    "metric rejected_total name_forbidden",
    "metric rejected_total plaintext_peer",
    "metric tls_reload_failed_total",
    "metric tls_reloads_total",
    "metric udp_dropped_total no_request",
    "metric udp_dropped_total queue_full",
    "verdict certain",
    "bulk idle connections",
    "bulk idle connections in TLS",
    "bulk left frames",
    "bulk carried",
    "bulk without a pipe",
    "bulk failed",
    "bulk spilt",
];

/// How often each state was reached, by what it is called.
#[derive(Debug, Clone, Default)]
pub struct Reached(BTreeMap<String, u64>);

impl Reached {
    /// One more of `which`, of this kind.
    pub fn add(&mut self, kind: &str, which: &str) {
        *self.0.entry(format!("{kind} {which}").trim_end().to_owned()).or_default() += 1;
    }

    /// Takes in how requests ended.
    pub fn outcomes(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if outcome.request.via == Via::Http2 {
                self.streams(outcome);
                continue;
            }
            for (exchange, answer) in outcome.request.exchanges.iter().zip(&outcome.answers) {
                self.add("exchange", &answer.status.to_string());
                if exchange.empty_line && answer.by_backend {
                    self.add("exchange", "behind an empty line");
                }
            }
            if outcome.told > 0 {
                let Request { claims, speaks_for, .. } = &outcome.request;
                let which = match (speaks_for.is_some(), claims.is_empty()) {
                    (false, true) => "of a client",
                    (false, false) => "of a client with false claims",
                    (true, true) => "by a trusted proxy",
                    (true, false) => "by a trusted proxy with claims",
                };
                self.add("told", which);
            }
            match &outcome.end {
                Ending::Whole if outcome.request.via == Via::Udp => {
                    self.add("client", "datagrams whole");
                }
                Ending::Failed(_) if outcome.request.via == Via::Udp => {
                    self.add("client", "datagrams lost");
                }
                Ending::Status(status) => self.add("client http", &status.to_string()),
                Ending::Whole => {
                    self.add("client", "stream whole");
                    if outcome.request.records.is_some() {
                        self.add("client", "hello in records");
                    }
                }
                Ending::Failed(_) => self.add("client", "failed"),
                Ending::Alert(_) => self.add("client", "alert"),
                other => self.add("client", &other.to_string()),
            }
        }
    }

    /// Takes in how a connection of HTTP/2 ended.
    fn streams(&mut self, outcome: &Outcome) {
        let exchanges = &outcome.request.exchanges;
        let differ = exchanges.windows(2).any(|two| two[0].plain_name() != two[1].plain_name());
        for answer in outcome.answers.iter().filter(|answer| !answer.by_backend) {
            self.add("streams", &format!("refused {}", answer.status));
        }
        match &outcome.end {
            Ending::Failed(_) if differ => self.add("streams", "of another name"),
            Ending::Failed(_) => self.add("streams", "failed"),
            other => self.add("streams", &other.to_string()),
        }
    }

    /// Takes in what the peers counted: one for each run in which it happened.
    pub fn metrics(&mut self, mesh: &Mesh) {
        for host in mesh.scenario().peers.keys() {
            let Ok(exported) = mesh.exported(host) else { continue };
            for series in exported.counters().filter(|series| series.value > 0.0) {
                let word = |label| series.labels.get(label).map(String::as_str);
                let which = word("reason").or(word("result")).unwrap_or_default();
                self.add(&format!("metric {}", series.name), which);
            }
        }
    }

    /// Takes in what became of bulk: one for each run in which it happened.
    pub fn bulk(&mut self, state: &State) {
        let idled: BTreeSet<Idled> = state.tap.idled().collect();
        let is_clear = |idled: &Idled| *idled != Idled::InTls;
        let Bulk { lent, refused, failed, spilt } = state.counters.bulk;
        let happened = [
            ("idle connections", idled.iter().any(is_clear)),
            ("idle connections in TLS", idled.contains(&Idled::InTls)),
            ("left frames", idled.contains(&Idled::LeftFrames)),
            ("carried", lent > 0),
            ("without a pipe", refused > 0),
            ("failed", failed > 0),
            ("spilt", spilt > 0),
        ];
        for (what, _) in happened.iter().filter(|(_, happened)| *happened) {
            self.add("bulk", what);
        }
    }

    /// Adds what another run has reached.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// What should be reached sometimes, and never was.
    pub fn missing(&self) -> Vec<&'static str> {
        SOMETIMES.iter().copied().filter(|what| !self.0.contains_key(*what)).collect()
    }

    /// All states with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }
}
