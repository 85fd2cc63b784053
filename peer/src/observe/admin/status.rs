//! The status page: the names, their providers and their traffic. One page without
//! scripts; names contain no characters that are markup in HTML.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::scrape::each_slice;
use crate::backend::health::board::Standing;
use crate::limits::STATUS_NAMES;
use crate::names::Name;
use crate::observe::metrics::NameRow;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta http-equiv=refresh content=5><meta name=viewport content='width=device-width'>\
<title>Ops Proxy</title><style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c1e21;background:#fff}\
h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.up{color:#0a7d33}.down{color:#b3261e}small{color:#666}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e4e6ea}th,td{border-color:#333}\
.up{color:#4cc26f}.down{color:#ff7a70}small{color:#999}}</style>";

/// The page as of now.
pub(super) async fn page<N: Net>(shared: &Shared<N>) -> String {
    let names = Names::of(shared).await;
    let snapshot = shared.mesh.snapshot_without_names();
    let phase = match shared.tasks.phase() {
        Phase::Serving => "serving",
        Phase::Draining | Phase::Finishing => "draining",
        Phase::Closing => "closing",
    };
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "<h1>Ops Proxy · {}</h1><p>{phase} · {} of {} names up · {} links · {} requests waiting for DATA",
        shared.peer_id, names.up, names.known, snapshot.links, snapshot.pending,
    );
    if !shared.config().connect.is_empty() {
        page.push_str("<h2>Registers with</h2><ul>");
        for upstream in &shared.config().connect {
            let (class, word) = match shared.metrics.is_link_up(&upstream.endpoint) {
                true => ("up", "up"),
                false => ("down", "down"),
            };
            let _ = write!(page, "<li>{upstream} <span class={class}>{word}</span>");
        }
        page.push_str("</ul>");
    }
    write_checks(&mut page, &shared.health.standings());
    page.push_str(
        "<h2>Names</h2><table><tr><th>name<th>state<th>served by<th class=n>active\
         <th class=n>requests<th class=n>succeeded<th class=n>failed<th class=n>bytes in<th class=n>bytes out",
    );
    names.first.iter().for_each(|row| write_row(&mut page, row));
    page.push_str("</table>");
    if names.known > names.first.len() {
        let _ = write!(page, "<p>and {} more", names.known - names.first.len());
    }
    page.push_str("<p><small><a href=/metrics>metrics</a></small>");
    page
}

/// What the page shows about the names.
#[derive(Default)]
struct Names {
    /// The first of them, [`STATUS_NAMES`] at most.
    first: Vec<NameRow>,
    known: usize,
    up: usize,
}

impl Names {
    async fn of<N: Net>(shared: &Shared<N>) -> Self {
        let mut names = Self::default();
        each_slice(shared, |rows| {
            names.known += rows.len();
            names.up += rows.iter().filter(|row| !row.providers.is_empty()).count();
            let room = STATUS_NAMES - names.first.len();
            names.first.extend(rows.into_iter().take(room));
        })
        .await;
        names
    }
}

/// The services whose backends are checked, [`STATUS_NAMES`] at most: those that are down
/// come first.
fn write_checks(page: &mut String, standings: &BTreeMap<Name, Standing>) {
    if standings.is_empty() {
        return;
    }
    page.push_str("<h2>Health checks</h2><table><tr><th>name<th>backend<th>last failure");
    let (up, down): (Vec<_>, Vec<_>) = standings.iter().partition(|(_, one)| one.is_up);
    for (name, standing) in down.into_iter().chain(up).take(STATUS_NAMES) {
        let state = if standing.is_up { "up" } else { "down" };
        let reason = standing.last_failure.as_deref().unwrap_or("none");
        // What the system says of an error may hold anything.
        let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(page, "<tr><td>{name}<td class={state}>{state}<td>{reason}");
    }
    page.push_str("</table>");
    if standings.len() > STATUS_NAMES {
        let _ = write!(page, "<p>and {} more", standings.len() - STATUS_NAMES);
    }
}

fn write_row(page: &mut String, row: &NameRow) {
    let (class, word) = if row.providers.is_empty() { ("down", "down") } else { ("up", "up") };
    let (total, success, failed) = row.counts.requests_in_all();
    // Writing to a String does not fail.
    let _ = write!(
        page,
        "<tr><td>{}<td class={class}>{word}<td>{}<td class=n>{}<td class=n>{total}<td class=n>{success}\
         <td class=n>{failed}<td class=n>{}<td class=n>{}",
        row.name,
        row.providers.join(", "),
        row.counts.active,
        row.counts.bytes_tx,
        row.counts.bytes_rx,
    );
}
