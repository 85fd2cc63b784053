//! What must hold after every tick of every run, without a scenario asking.

use std::collections::BTreeMap;

use ops_proxy::metrics::{Counts, ProxyError, Snapshot};

use crate::client::{Ending, Outcome};
use crate::mesh::Mesh;
use crate::model::Model;

/// A gauge this large went below zero.
const BELOW_ZERO: u64 = 1 << 40;

/// Checks one run.
#[derive(Debug, Default)]
pub struct Invariants {
    model: Model,
    /// The numbers of each peer after the last tick, and which start they are of.
    before: BTreeMap<String, (u64, Snapshot)>,
}

impl Invariants {
    /// Checks all peers as they are after a tick.
    ///
    /// # Errors
    /// The first thing that must not be so.
    pub fn check(&mut self, mesh: &Mesh) -> Result<(), String> {
        self.model.observe(mesh);
        for host in mesh.scenario().peers.keys() {
            let Some(handle) = mesh.peer(host) else {
                self.before.remove(host);
                continue;
            };
            let now = handle.snapshot();
            let at = |error: String| format!("at {host}: {error}");
            check_sums(&now).map_err(at)?;
            let start = mesh.starts(host);
            if let Some((_, before)) = self.before.get(host).filter(|(same, _)| *same == start) {
                check_growth(before, &now).map_err(at)?;
                self.model.check_change(mesh, host, before, &now)?;
            }
            if mesh.is_running(host) {
                self.model.check(mesh, host, &now)?;
            }
            self.before.insert(host.clone(), (start, now));
        }
        let wrongs = std::mem::take(&mut mesh.fabric().state().wrongs);
        wrongs.into_iter().next().map_or(Ok(()), Err)
    }

    /// The reference model of this run.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// What one moment's numbers must be to each other.
fn check_sums(snapshot: &Snapshot) -> Result<(), String> {
    for row in &snapshot.names {
        let name = &row.name;
        let counts = &row.counts;
        let (total, success, failed) = counts.requests_in_all();
        if total != success + failed + counts.active {
            return Err(format!(
                "{name}: requests {total} != success {success} + failed {failed} + active {}",
                counts.active
            ));
        }
        let lost: u64 = counts.forwards_failed.iter().sum();
        if counts.forwards != counts.matched + counts.timed_out + lost + row.pending {
            return Err(format!(
                "{name}: forwards {} != matched {} + timeout {} + failed {lost} + pending {}",
                counts.forwards, counts.matched, counts.timed_out, row.pending
            ));
        }
        let errors = errors_of_requests(counts);
        if errors != failed {
            return Err(format!("{name}: {failed} failed requests, but {errors} proxy errors"));
        }
        if counts.active > BELOW_ZERO || row.pending > BELOW_ZERO {
            return Err(format!("{name}: a gauge is below zero"));
        }
    }
    let pending: u64 = snapshot.names.iter().map(|row| row.pending).sum();
    if pending != snapshot.pending {
        return Err(format!("{} ids pending, but {pending} by name", snapshot.pending));
    }
    if snapshot.panics > 0 {
        return Err("a task panicked".to_owned());
    }
    Ok(())
}

/// Proxy errors but for `no_client`: such a request was never routed.
fn errors_of_requests(counts: &Counts) -> u64 {
    let errors = ProxyError::ALL.iter().zip(counts.errors);
    errors.filter(|(reason, _)| **reason != ProxyError::NoClient).map(|(_, count)| count).sum()
}

/// Counters never fall while their series exists.
fn check_growth(before: &Snapshot, now: &Snapshot) -> Result<(), String> {
    if now.unexpected < before.unexpected {
        return Err("data_connections_unexpected_total fell".to_owned());
    }
    let mut rows = now.names.iter().peekable();
    for old in &before.names {
        // Rows are in order; a name that was forgotten has none.
        while rows.next_if(|row| row.name < old.name).is_some() {}
        let Some(new) = rows.next_if(|row| row.name == old.name) else { continue };
        let fell =
            counters(&old.counts).zip(counters(&new.counts)).find(|(old, new)| new.1 < old.1);
        if let Some(((what, old_value), (_, new_value))) = fell {
            return Err(format!("{}: {what} fell from {old_value} to {new_value}", old.name));
        }
    }
    Ok(())
}

fn counters(counts: &Counts) -> impl Iterator<Item = (&'static str, u64)> {
    let requests = counts.requests.into_iter().flat_map(|one| {
        [
            ("requests_total", one.total),
            ("requests_success_total", one.success),
            ("requests_failed_total", one.failed),
            ("latency count", one.latency_count),
        ]
    });
    let plain = [
        ("client_registrations_total", counts.registrations),
        ("client_disconnects_total", counts.disconnects),
        ("forward_commands_total", counts.forwards),
        ("data_connections_matched_total", counts.matched),
        ("data_connections_timeout_total", counts.timed_out),
        ("connections_bytes_tx_total", counts.bytes_tx),
        ("connections_bytes_rx_total", counts.bytes_rx),
    ];
    let failed = counts.forwards_failed.into_iter().map(|count| ("forwards_failed_total", count));
    let errors = counts.errors.into_iter().map(|count| ("proxy_errors_total", count));
    requests.chain(plain).chain(failed).chain(errors)
}

/// Whether nothing is going on at any peer.
pub fn is_quiet(mesh: &Mesh) -> bool {
    let quiet = |snapshot: Snapshot| {
        snapshot.pending == 0 && snapshot.names.iter().all(|row| row.counts.active == 0)
    };
    let mut peers = mesh.scenario().peers.keys().filter_map(|host| mesh.peer(host));
    peers.all(|peer| quiet(peer.snapshot()))
}

/// Compares the byte counters with what clients received, at the peers that were
/// started once.
///
/// # Errors
/// A name for which clients received more than was counted.
pub fn check_bytes(mesh: &Mesh, outcomes: &[Outcome]) -> Result<(), String> {
    let mut received: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.is_whole()) {
        let request = &outcome.request;
        if let Some((host, _)) = request.to.split_once(':') {
            *received.entry((host, &request.name)).or_default() += outcome.received;
        }
    }
    for ((host, name), received) in received {
        // The counters of a name go when it is forgotten.
        let spec = mesh.scenario().peers.get(host);
        let keeps = spec.is_some_and(|peer| peer.name_retention.is_none());
        let once = keeps && mesh.starts(host) == 1;
        let Some(handle) = mesh.peer(host).filter(|_| once) else { continue };
        let snapshot = handle.snapshot();
        let Some(row) = snapshot.names.iter().find(|row| row.name == name) else { continue };
        if row.counts.bytes_rx < received {
            let counted = row.counts.bytes_rx;
            return Err(format!("{name} at {host}: {received} B received, {counted} counted"));
        }
    }
    Ok(())
}

/// What a client must not have seen. `truncating`: a host ended in a way that
/// looks like a clean end of what it sent.
///
/// # Errors
/// What it saw.
pub fn check_outcome(outcome: &Outcome, truncating: bool) -> Result<(), String> {
    match &outcome.end {
        Ending::Corrupt(_) => Err(format!("bytes that nobody sent: {outcome}")),
        Ending::Cut if !truncating => Err(format!("a cut looked like a clean end: {outcome}")),
        Ending::Open => Err(format!("a request outlived all deadlines: {outcome}")),
        _ => Ok(()),
    }
}
