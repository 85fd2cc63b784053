//! What must hold after every tick of every run, without a scenario asking.

use std::collections::{BTreeMap, BTreeSet};

use ops_proxy::observe::metrics::{Counts, ForwardFailure, NameRow, ProxyError, Snapshot};

use crate::client::{Ending, Outcome};
use crate::mesh::Mesh;
use crate::model::Model;
use crate::steps::Via;

/// A gauge this large went below zero.
const BELOW_ZERO: u64 = 1 << 40;

/// No answer of a peer itself has a longer body.
const REFUSAL_BYTES: u64 = 1024;

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
        let seen = Seen::by_clients(mesh);
        for host in mesh.scenario().peers.keys() {
            let Some(handle) = mesh.peer(host) else {
                self.forget(mesh, host);
                continue;
            };
            let now = handle.snapshot();
            let at = |error: String| format!("at {host}: {error}");
            check_sums(&now).map_err(at)?;
            let start = mesh.starts(host);
            if self.before.get(host).is_some_and(|(before, _)| *before != start) {
                self.forget(mesh, host);
            }
            if let Some((_, before)) = self.before.get(host) {
                check_growth(before, &now).map_err(at)?;
                self.model.check_change(mesh, host, before, &now)?;
                if before.names.len() > now.names.len() {
                    let known = |name: &str| now.names.iter().any(|row| row.name == name);
                    mesh.fabric().state().forwards.forget(mesh.ip(host), known);
                }
            }
            check_overheard(mesh, host, &now).map_err(at)?;
            if counts_everything(mesh, host) {
                seen.check(host, &now).map_err(at)?;
            }
            if mesh.is_running(host) {
                self.model.check(mesh, host, &now)?;
            }
            self.before.insert(host.clone(), (start, now));
        }
        check_asked_once(mesh)?;
        check_asked_again(mesh)?;
        let wrongs = std::mem::take(&mut mesh.fabric().state().wrongs);
        wrongs.into_iter().next().map_or(Ok(()), Err)
    }

    /// The peer on this host is another now, or none.
    fn forget(&mut self, mesh: &Mesh, host: &str) {
        if self.before.remove(host).is_some() {
            mesh.fabric().state().forwards.forget(mesh.ip(host), |_| false);
        }
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
        let providers: BTreeSet<&String> = row.providers.iter().collect();
        if providers.len() != row.providers.len() {
            return Err(format!("{name}: a provider is there twice: {:?}", row.providers));
        }
    }
    let pending: u64 = snapshot.names.iter().map(|row| row.pending).sum();
    if pending != snapshot.pending {
        return Err(format!("{} ids pending, but {pending} by name", snapshot.pending));
    }
    if pending > 0 && snapshot.links == 0 {
        return Err(format!("{pending} ids pending, but no link to expect them from"));
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
        check_disconnects(old, new)?;
    }
    Ok(())
}

/// A provider that goes is counted, once; who comes has registered.
fn check_disconnects(old: &NameRow, new: &NameRow) -> Result<(), String> {
    let (before, after) = (old.providers.len() as u64, new.providers.len() as u64);
    let gone = new.counts.disconnects - old.counts.disconnects;
    let registered = new.counts.registrations - old.counts.registrations;
    if after + gone < before || after + gone > before + registered {
        return Err(format!(
            "{}: {before} providers, then {after}, with {gone} disconnects and {registered} registrations",
            old.name
        ));
    }
    Ok(())
}

/// Compares what is counted of FORWARDs with what was said on the links.
fn check_overheard(mesh: &Mesh, host: &str, now: &Snapshot) -> Result<(), String> {
    let state = mesh.fabric().state();
    for row in &now.names {
        let (name, counts) = (&row.name, &row.counts);
        let heard = state.forwards.tally(mesh.ip(host), name);
        if counts.matched > heard.answered {
            return Err(format!(
                "{name}: {} DATA connections matched, but the peers that were asked sent {}",
                counts.matched, heard.answered
            ));
        }
        let unsaid = [ForwardFailure::LinkLost, ForwardFailure::ClientReset];
        let unsaid: u64 = unsaid.iter().map(|one| counts.forwards_failed[*one as usize]).sum();
        let refused = counts.forwards_failed.iter().sum::<u64>() - unsaid;
        let fails = heard.refused + heard.taken_back;
        if refused > fails {
            return Err(format!(
                "{name}: {refused} forwards failed, but the peers that were asked sent {fails} FAIL"
            ));
        }
        let failed: u64 = counts.timed_out + counts.forwards_failed.iter().sum::<u64>();
        if failed < heard.refused {
            return Err(format!(
                "{name}: FAIL came {} times, but {failed} forwards have failed",
                heard.refused
            ));
        }
    }
    Ok(())
}

/// A request is given to another provider, if to a second at all.
fn check_asked_once(mesh: &Mesh) -> Result<(), String> {
    let state = mesh.fabric().state();
    let Some(line) = state.forwards.twice() else { return Ok(()) };
    let trusting = mesh.scenario().peers.values().any(|peer| !peer.trusted_proxies.is_empty());
    match trusting {
        true => Ok(()),
        false => Err(format!("one provider was asked twice for one request: {line}")),
    }
}

/// An idle DATA connection that has ended costs a retry, never a request.
fn check_asked_again(mesh: &Mesh) -> Result<(), String> {
    let state = mesh.fabric().state();
    match state.forwards.given_up() {
        Some(id) => Err(format!("FORWARD {id} was lost with its connection, and not sent again")),
        None => Ok(()),
    }
}

/// Whether the peer on this host has counters for all that it ever did, and only
/// clients asked it: no other peer has it for a backend.
fn counts_everything(mesh: &Mesh, host: &str) -> bool {
    let peers = &mesh.scenario().peers;
    let is_backend = |text: &String| text.rsplit_once(':').is_some_and(|(name, _)| name == host);
    mesh.starts(host) == 1
        && peers[host].name_retention.is_none()
        && !peers.values().any(|peer| peer.services.values().any(is_backend))
}

/// What clients have seen so far at one listening peer, whatever the name.
#[derive(Debug, Default, Clone, Copy)]
struct SeenAt {
    /// Connections, of which each is at most one request.
    connections: u64,
    /// Requests that got all that they asked for, and asked for something.
    whole: u64,
    /// Payload that was received at least, and that was sent by whole requests.
    received: u64,
    sent: u64,
}

/// What clients have seen, by host.
struct Seen(BTreeMap<String, SeenAt>);

impl Seen {
    fn by_clients(mesh: &Mesh) -> Self {
        let mut seen: BTreeMap<String, SeenAt> = BTreeMap::new();
        mesh.outcomes().with(|all| {
            for one in all {
                let host = one.request.to.split(':').next().unwrap_or_default();
                if !seen.contains_key(host) {
                    seen.insert(host.to_owned(), SeenAt::default());
                }
                if let Some(at) = seen.get_mut(host) {
                    at.add(one);
                }
            }
        });
        for raw in mesh.scenario().steps().filter_map(|step| step.raw.as_ref()) {
            let host = raw.to.as_deref().and_then(|to| to.split(':').next()).unwrap_or_default();
            seen.entry(host.to_owned()).or_default().connections += 1;
        }
        Self(seen)
    }

    /// Compares it with what the peer on `host` has counted.
    fn check(&self, host: &str, now: &Snapshot) -> Result<(), String> {
        let seen = self.0.get(host).copied().unwrap_or_default();
        let of_all = |number: fn(&Counts) -> u64| -> u64 {
            now.names.iter().map(|row| number(&row.counts)).sum()
        };
        let requests = of_all(|counts| counts.requests_in_all().0);
        let (tx, rx) = (of_all(|counts| counts.bytes_tx), of_all(|counts| counts.bytes_rx));
        let SeenAt { connections, whole, received, sent } = seen;
        if requests > connections || requests < whole {
            return Err(format!(
                "{requests} requests counted, but of {connections} connections {whole} were served"
            ));
        }
        if rx < received {
            return Err(format!("clients received {received} B, but {rx} are counted"));
        }
        if tx < sent {
            return Err(format!("clients sent {sent} B, but {tx} are counted"));
        }
        Ok(())
    }
}

impl SeenAt {
    fn add(&mut self, outcome: &Outcome) {
        self.connections += 1;
        // Who asks for nothing is content whatever happens.
        self.whole += u64::from(outcome.is_whole() && outcome.received > 0);
        // What is small may be the answer of a peer that refuses.
        if outcome.is_whole() || outcome.received > REFUSAL_BYTES {
            self.received += outcome.received;
        }
        if outcome.is_whole() {
            self.sent += match outcome.request.via {
                Via::Http => outcome.sent + outcome.heads_sent,
                // A stream is what came back, the ClientHello too.
                Via::Tls | Via::Connect | Via::Tcp => outcome.received,
            };
        }
    }
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
