//! The access log: once all is quiet, its lines come to what the metrics say.

use ops_proxy::observe::metrics::{Counts, PerProtocol, Protocol};

use crate::client::Outcome;
use crate::mesh::{Mesh, Sums};
use crate::scenario::steps::Via;

/// Each peer that runs has told of every request, once.
///
/// # Errors
/// The first peer whose lines and metrics differ, with both.
pub fn check_access(mesh: &Mesh) -> Result<(), String> {
    for host in mesh.scenario().peers.keys() {
        let Some((peer, told)) = mesh.peer(host).zip(mesh.told(host)) else { continue };
        if let Some(what) = &told.nonsense {
            return Err(format!("at {host}: the access log contradicts itself: {what}"));
        }
        let spec = &mesh.scenario().peers[host];
        // Counters of names that were forgotten are gone; what is served for others is told of as
        // routed; what is no longer served has no counters.
        if spec.name_retention.is_some()
            || !spec.transit.is_empty()
            || mesh.configurations(host) > 0
        {
            continue;
        }
        let snapshot = peer.snapshot();
        let of_all = |count: &dyn Fn(&Counts) -> u64| -> u64 {
            let known: u64 = snapshot.names.iter().map(|row| count(&row.counts)).sum();
            known + count(&snapshot.other)
        };
        let (served, _) = peer.served();
        let routed = of_all(&|counts| counts.requests_in_all().0);
        let same = |what: &str, told_of: u64, counted: u64| match told_of == counted {
            true => Ok(()),
            false => Err(format!(
                "at {host}: the access log tells of {told_of} {what}, but {counted} were counted"
            )),
        };
        let streams = |failed: bool| -> u64 {
            told.streams.values().map(|(all, of_them)| if failed { *of_them } else { *all }).sum()
        };
        if routed == 0 {
            same("FORWARDs served", streams(false), served.total - served.active)?;
            same("FORWARDs failed", streams(true), served.failed)?;
        }
        if served.total == 0 {
            check_public(&told, &same, &of_all)?;
            let tunnels = told.streams.get("connect").map_or(0, |(all, _)| *all);
            // Requests of HTTP/2 are told of, but not counted as those of HTTP/1 are.
            let refused = match any_http2(mesh, host) {
                true => {
                    told.speechless.min(snapshot.exchanges.saturating_sub(told.exchanges + tunnels))
                }
                false => told.speechless,
            };
            same("HTTP requests", told.exchanges + refused + tunnels, snapshot.exchanges)?;
        }
        if served.active == 0 {
            same("bytes sent", told.sent, of_all(&|counts| counts.bytes_tx) + served.sent)?;
            same("bytes received", told.received, {
                of_all(&|counts| counts.bytes_rx) + served.received
            })?;
        }
    }
    Ok(())
}

/// Whether clients have asked this host by HTTP/2.
fn any_http2(mesh: &Mesh, host: &str) -> bool {
    let is_one = |one: &Outcome| one.request.via == Via::Http2 && one.request.is_to(host);
    mesh.outcomes().with(|all| all.iter().any(is_one))
}

/// The lines of a peer that serves no other listening peer. Ways that are not here share their
/// counters with HTTP requests.
fn check_public(
    told: &Sums,
    same: &impl Fn(&str, u64, u64) -> Result<(), String>,
    of_all: &impl Fn(&dyn Fn(&Counts) -> u64) -> u64,
) -> Result<(), String> {
    for (way, protocol) in
        [("https", Protocol::Https), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]
    {
        let (all, failed) = told.streams.get(way).copied().unwrap_or_default();
        let counted = |count: fn(&PerProtocol) -> u64| {
            of_all(&|counts| count(&counts.requests[protocol as usize]))
        };
        same(
            &format!("requests by {way}"),
            all,
            counted(|requests| requests.success + requests.failed),
        )?;
        same(&format!("failed requests by {way}"), failed, counted(|requests| requests.failed))?;
    }
    Ok(())
}
