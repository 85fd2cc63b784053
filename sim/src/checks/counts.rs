//! The numbers of one peer: what they must be to each other, and to those before.

use std::collections::BTreeSet;

use ops_proxy::observe::metrics::{Counts, NameRow, Protocol, ProxyError, Served, Snapshot};

const HTTP: usize = Protocol::Http as usize;

/// A gauge this large went below zero.
const BELOW_ZERO: u64 = 1 << 40;

/// What one moment's numbers must be to each other. A peer that reads its HTTP has carried
/// `unread` requests that it has not read; `None` if it may not have read any.
pub(super) fn check_sums(snapshot: &Snapshot, unread: Option<u64>) -> Result<(), String> {
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
        let (exchanges, stretches) = (exchanges(counts), counts.requests[HTTP].success);
        if unread.is_some_and(|unread| exchanges + unread < stretches) {
            return Err(format!(
                "{name}: {stretches} requests by HTTP succeeded, but {exchanges} were answered"
            ));
        }
        if counts.active > BELOW_ZERO || row.pending > BELOW_ZERO {
            return Err(format!("{name}: a gauge is below zero"));
        }
        let providers: BTreeSet<&String> = row.providers.iter().collect();
        if providers.len() != row.providers.len() {
            return Err(format!("{name}: a provider is there twice: {:?}", row.providers));
        }
    }
    let by_code = exchanges_of_names(snapshot);
    // Those of names that were forgotten stay in the histogram.
    if by_code > snapshot.exchanges {
        return Err(format!(
            "{by_code} HTTP requests by code, but {} in the histogram",
            snapshot.exchanges
        ));
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

/// What a connecting peer counts by service is what it counts in all, unless it carries
/// requests for `others`.
pub(super) fn check_served(
    of_services: Served,
    in_all: Served,
    others: bool,
) -> Result<(), String> {
    let of_services = [of_services.total, of_services.failed, of_services.active];
    let in_all = [in_all.total, in_all.failed, in_all.active];
    let fits = match others {
        true => of_services.iter().zip(&in_all).all(|(of_services, in_all)| of_services <= in_all),
        false => of_services == in_all,
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "by service {of_services:?} forwards, but {in_all:?} in all (total, failed, active)"
        )),
    }
}

fn exchanges(counts: &Counts) -> u64 {
    counts.exchanges.iter().sum()
}

fn exchanges_of_names(snapshot: &Snapshot) -> u64 {
    let known: u64 = snapshot.names.iter().map(|row| exchanges(&row.counts)).sum();
    known + exchanges(&snapshot.other)
}

/// Proxy errors but for `no_client`: such a request was never routed.
fn errors_of_requests(counts: &Counts) -> u64 {
    let errors = ProxyError::ALL.iter().zip(counts.errors);
    errors.filter(|(reason, _)| **reason != ProxyError::NoClient).map(|(_, count)| count).sum()
}

/// Counters never fall while their series exists.
pub(super) fn check_growth(before: &Snapshot, now: &Snapshot) -> Result<(), String> {
    if now.unexpected < before.unexpected {
        return Err("data_connections_unexpected_total fell".to_owned());
    }
    let before_names = before.names.iter().map(|row| &row.name);
    if before_names.eq(now.names.iter().map(|row| &row.name)) {
        let by_code = exchanges_of_names(now) - exchanges_of_names(before);
        let in_all = now.exchanges - before.exchanges;
        if by_code != in_all {
            return Err(format!("{by_code} more HTTP requests by code, but {in_all} in all"));
        }
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
    // Listening peers that are asked register nothing.
    let registered = |row: &NameRow| row.providers.iter().filter(|one| *one != "upstream").count();
    let (before, after) = (registered(old) as u64, registered(new) as u64);
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
    let exchanges = counts.exchanges.into_iter().map(|count| ("http_requests_total", count));
    let errors = counts.errors.into_iter().map(|count| ("proxy_errors_total", count));
    requests.chain(plain).chain(failed).chain(exchanges).chain(errors)
}
