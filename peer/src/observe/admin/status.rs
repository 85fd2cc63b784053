//! The status page, in parts. The server writes all of it; what changes afterwards is a part
//! written again, which the page's script puts in place of the old one. So what strangers
//! can put into a name or a reason is escaped in one place, here.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::gather::{self, Wanted};
use super::summary::settings;
use crate::limits::{STATUS_NAMES, STATUS_PART_NAMES, STATUS_ROWS};
use crate::observe::api;
use crate::observe::said::{brief, bytes, lasting};
use crate::shared::Shared;
use crate::stream::net::Net;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// `Content-Security-Policy` of the page: its own style and script, its own events, and no more.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// The parts of a page, under the ids of their elements.
pub(super) type Parts = BTreeMap<String, String>;

/// Text that is not markup, whatever is in it.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaped<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for character in text.chars() {
                    match character {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        plain => self.0.write_char(plain)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaped(f), "{}", self.0)
    }
}

/// Adds to text in memory.
fn put(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to memory does not fail");
}

/// All parts as of now.
pub(super) async fn parts<N: Net>(shared: &Shared<N>) -> Parts {
    let peer = gather::peer(shared).await;
    let names = gather::names(shared, Wanted::first(STATUS_NAMES)).await;
    let requests = gather::requests(shared, Wanted::first(STATUS_ROWS)).await;
    let links = gather::links(shared, &Wanted::first(STATUS_ROWS));
    let errors = gather::errors(shared, STATUS_ROWS);
    let certificates = gather::certificates(shared, &Wanted::first(STATUS_ROWS));
    let mut parts = Parts::new();
    let mut add = |id: &str, html: String| drop(parts.insert(id.to_owned(), html));
    add("title", format!("{} · {} · Ops Proxy", word_of(peer.state), Text(&peer.id)));
    add("state", state(&peer));
    add("peer", about(&peer));
    let mut rows = names.names.chunks(STATUS_PART_NAMES);
    for part in 0..STATUS_NAMES.div_ceil(STATUS_PART_NAMES) {
        let rows = rows.next().unwrap_or_default();
        add(&format!("names-{part}"), rows.iter().map(name_row).collect());
    }
    add("names-more", more(names.names.len(), names.total));
    add("upstreams", peer.upstreams.iter().map(upstream_row).collect());
    add("upstreams-more", more(peer.upstreams.len(), peer.upstreams.len() as u64));
    add("links", links.links.iter().map(link_row).collect());
    add("links-more", more(links.links.len(), links.total));
    add("requests", requests.requests.iter().map(request_row).collect());
    add("requests-more", more(requests.requests.len(), requests.total));
    add("errors", errors.errors.iter().map(error_row).collect());
    add("errors-more", more(errors.errors.len(), errors.total));
    add("certificates", certificates.certificates.iter().map(certificate_row).collect());
    add("certificates-more", more(certificates.certificates.len(), certificates.total));
    add("config", settings(&shared.config()).settings.iter().map(setting_row).collect());
    parts
}

/// The page with these parts.
pub(super) fn page(parts: &Parts) -> String {
    let part = |id: &str| parts.get(id).map_or("", String::as_str);
    let mut page = String::with_capacity(64 * 1024);
    put(
        &mut page,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title id=\"title\">{}</title><style>{STYLE}</style></head><body>\
             <header><h1>Ops Proxy</h1>\
             <div id=\"state\" role=\"status\" aria-live=\"polite\" aria-atomic=\"true\">{}</div>\
             <p id=\"live\" class=\"soft\" role=\"status\">\
             As of when it was loaded; reload it to see what has changed since.</p>\
             <nav aria-label=\"Sections\"><a href=\"#about\">Peer</a>\
             <a href=\"#all-names\">Names</a><a href=\"#all-links\">Links</a>\
             <a href=\"#all-requests\">Requests</a><a href=\"#all-errors\">Errors</a>\
             <a href=\"#all-certificates\">Certificates</a><a href=\"#settings\">Configuration</a>\
             </nav></header><main><section id=\"about\" aria-labelledby=\"h-about\">\
             <h2 id=\"h-about\">Peer</h2><dl id=\"peer\">{}</dl></section>",
            part("title"),
            part("state"),
            part("peer"),
        ),
    );
    let names = (0..STATUS_NAMES.div_ceil(STATUS_PART_NAMES)).map(|part| format!("names-{part}"));
    let names: Vec<String> = names.collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for table in [
        Table {
            id: "all-names",
            title: "Names",
            caption: "What clients can ask for, and who serves it",
            columns: &[
                "Name",
                "State",
                "Ways",
                "Served by",
                "#Running",
                "#Requests",
                "#Failed",
                "#In the last minute",
                "#Bytes to backends",
                "#Bytes to clients",
                "Errors",
            ],
            bodies: &names,
            more: "names-more",
        },
        Table {
            id: "all-upstreams",
            title: "Registers with",
            caption: "The listening peers in connect",
            columns: &["Listening peer", "State"],
            bodies: &["upstreams"],
            more: "upstreams-more",
        },
        Table {
            id: "all-links",
            title: "Links",
            caption: "Open links of this peer to others, and of others to this one",
            columns: &[
                "Other peer",
                "This peer is",
                "Address",
                "#Open for",
                "#Round trip",
                "#Names",
                "#Idle DATA connections",
            ],
            bodies: &["links"],
            more: "links-more",
        },
        Table {
            id: "all-requests",
            title: "Requests",
            caption: "Those that run, the oldest first",
            columns: &[
                "Id",
                "Name",
                "Way",
                "Client",
                "Served by",
                "#Runs for",
                "#Bytes to backend",
                "#Bytes to client",
            ],
            bodies: &["requests"],
            more: "requests-more",
        },
        Table {
            id: "all-errors",
            title: "Errors",
            caption: "The last requests for known names that failed or were refused, the latest first",
            columns: &["When", "Name", "Reason", "Client", "Id", "#Times"],
            bodies: &["errors"],
            more: "errors-more",
        },
        Table {
            id: "all-certificates",
            title: "Certificates",
            caption: "Those that this peer has loaded",
            columns: &["Subject", "For", "State", "#Days left", "Valid until"],
            bodies: &["certificates"],
            more: "certificates-more",
        },
        Table {
            id: "settings",
            title: "Configuration",
            caption: "The settings in force; files and tokens are only said to be set",
            columns: &["Setting", "Value"],
            bodies: &["config"],
            more: "",
        },
    ] {
        table.write(&mut page, part);
    }
    put(
        &mut page,
        format_args!(
            "</main><footer><p class=\"soft\">The same for programs: <a href=\"api/v1/peer\">\
             /api/v1/</a>, <a href=\"metrics\">/metrics</a>. In a terminal: \
             <code>ops-proxy status</code>, <code>ops-proxy trace ID</code>.</p></footer>\
             <script>{SCRIPT}</script></body></html>"
        ),
    );
    page
}

/// A table of the page. A column that begins with `#` holds numbers.
struct Table<'a> {
    id: &'a str,
    title: &'a str,
    caption: &'a str,
    columns: &'a [&'a str],
    bodies: &'a [&'a str],
    more: &'a str,
}

impl Table<'_> {
    fn write<'p>(&self, page: &mut String, part: impl Fn(&str) -> &'p str) {
        let Self { id, title, caption, columns, bodies, more } = self;
        put(
            page,
            format_args!(
                "<section id=\"{id}\" aria-labelledby=\"h-{id}\"><h2 id=\"h-{id}\">{title}</h2>\
                 <div class=\"scroll\" role=\"region\" aria-labelledby=\"h-{id}\" tabindex=\"0\">\
                 <table><caption>{caption}</caption><thead><tr>"
            ),
        );
        for column in *columns {
            match column.strip_prefix('#') {
                Some(number) => {
                    put(page, format_args!("<th scope=\"col\" class=\"n\">{number}</th>"))
                }
                None => put(page, format_args!("<th scope=\"col\">{column}</th>")),
            }
        }
        page.push_str("</tr></thead>");
        for body in *bodies {
            put(page, format_args!("<tbody id=\"{body}\">{}</tbody>", part(body)));
        }
        page.push_str("</table></div>");
        if !more.is_empty() {
            put(page, format_args!("<p id=\"{more}\">{}</p>", part(more)));
        }
        page.push_str("</section>");
    }
}

fn word_of(state: api::State) -> &'static str {
    match state {
        api::State::Well => "Well",
        api::State::Degraded => "Degraded",
        api::State::Draining => "Draining",
    }
}

fn state(peer: &api::Peer) -> String {
    let (class, sign, what) = match peer.state {
        api::State::Well => ("well", "✓", "every known name is served, and every link is up"),
        api::State::Degraded => ("degraded", "✗", "some of what this peer knows cannot be reached"),
        api::State::Draining => (
            "draining",
            "…",
            "this peer takes its leave: running requests may end, and no others begin",
        ),
    };
    let mut text = format!(
        "<div class=\"state {class}\"><strong><span aria-hidden=\"true\">{sign}</span> {}</strong> \
         <span>{}: {what}</span>",
        word_of(peer.state),
        Text(&peer.id),
    );
    if !peer.because.is_empty() {
        text.push_str("<ul>");
        for reason in &peer.because {
            put(&mut text, format_args!("<li>{}</li>", Text(reason)));
        }
        text.push_str("</ul>");
    }
    text.push_str("</div>");
    text
}

fn about(peer: &api::Peer) -> String {
    let mut text = String::new();
    let mut say = |what: &str, value: String| {
        put(&mut text, format_args!("<dt>{what}</dt><dd>{}</dd>", Text(value)));
    };
    say("Peer id", peer.id.clone());
    say("Version", peer.version.clone());
    say("Roles", peer.roles.join(" and "));
    say("Phase", format!("{}{}", peer.phase, if peer.ready { ", ready" } else { ", not ready" }));
    say("Started", format!("{} ({} ago)", peer.started, lasting(peer.uptime_seconds)));
    say("Names", format!("{} of {} names up", peer.names_up, peer.names));
    say("Links", format!("{} in, {} out", peer.links_in, peer.links_out));
    say("Requests", format!("{} running, {} waiting for DATA", peer.requests, peer.pending));
    text
}

fn more(shown: usize, total: u64) -> String {
    match total.saturating_sub(shown as u64) {
        0 if total == 0 => "none".to_owned(),
        0 => String::new(),
        more => format!("and {more} more"),
    }
}

/// A state that is told by a sign and a word, and not by colour alone.
fn up(state: api::Up) -> &'static str {
    match state {
        api::Up::Up => "<span class=\"up\"><span aria-hidden=\"true\">✓ </span>up</span>",
        api::Up::Down => "<span class=\"down\"><span aria-hidden=\"true\">✗ </span>down</span>",
    }
}

fn name_row(name: &api::Name) -> String {
    let mut state = up(name.state).to_owned();
    if let Some(down_for) = name.down_for_seconds {
        put(&mut state, format_args!(" for {}", lasting(down_for)));
    }
    if name.unhealthy {
        state.push_str("<br>its backend fails its checks");
    }
    if let Some(service) = &name.service {
        for backend in &service.backends {
            put(&mut state, format_args!("<br><span class=\"soft\">{}", Text(&backend.address)));
            put(&mut state, format_args!(" ({})</span>", Text(backend.ways.join(", "))));
        }
        if let Some(health) = service.health {
            put(&mut state, format_args!("<br>checks: {}", up(health)));
        }
        if let Some(failure) = &service.last_failure {
            put(&mut state, format_args!("<br>last failure: {}", Text(failure)));
        }
    }
    let errors: Vec<String> =
        name.errors.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let minute = &name.last_minute;
    let failed = match minute.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{state}</td><td>{}</td><td class=\"words\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}{failed}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        Text(&name.name),
        Text(name.ways.join(", ")),
        Text(name.providers.join(", ")),
        name.active,
        name.requests + name.served.requests,
        name.failed + name.served.failed,
        minute.requests,
        bytes(name.bytes_sent + name.served.bytes_sent),
        bytes(name.bytes_received + name.served.bytes_received),
        Text(errors.join(", ")),
    )
}

fn upstream_row(upstream: &api::Upstream) -> String {
    let state = up(upstream.state);
    format!("<tr><th scope=\"row\">{}</th><td>{state}</td></tr>", Text(&upstream.address))
}

fn link_row(link: &api::Link) -> String {
    let round_trip = link.round_trip_seconds.map_or_else(String::new, brief);
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{round_trip}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        Text(link.peer.as_deref().unwrap_or("has not said who it is")),
        Text(&link.role),
        Text(link.remote.as_deref().unwrap_or("unknown")),
        lasting(link.age_seconds),
        link.names,
        link.idle_data,
    )
}

fn request_row(request: &api::Request) -> String {
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        Text(&request.id),
        Text(&request.name),
        Text(&request.way),
        Text(&request.client),
        Text(&request.provider),
        lasting(request.age_seconds),
        bytes(request.bytes_sent),
        bytes(request.bytes_received),
    )
}

fn error_row(error: &api::Trouble) -> String {
    let failure = &error.failure;
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"words\"><code>{}</code><br>{}</td><td>{}</td>\
         <td><code>{}</code></td><td class=\"n\">{}</td></tr>",
        Text(&error.at),
        Text(&error.name),
        Text(failure.detail.as_ref().unwrap_or(&failure.reason)),
        Text(&failure.words),
        Text(&error.client),
        Text(error.id.as_deref().unwrap_or("")),
        error.times,
    )
}

fn certificate_row(certificate: &api::Certificate) -> String {
    let sign = if certificate.state == "valid" { "✓" } else { "✗" };
    let class = if certificate.state == "valid" { "up" } else { &certificate.state };
    let names = certificate.names.join(", ");
    format!(
        "<tr><th scope=\"row\" class=\"words\">{}<br><span class=\"soft\">{}</span></th><td>{}</td>\
         <td><span class=\"{class}\"><span aria-hidden=\"true\">{sign} </span>{}</span></td>\
         <td class=\"n\">{}</td><td>{}</td></tr>",
        Text(&certificate.subject),
        Text(names),
        Text(&certificate.kind),
        match certificate.state.as_str() {
            "soon" => "expires soon: renew it",
            other => other,
        },
        certificate.days_left.map_or_else(|| "unknown".to_owned(), |days| days.to_string()),
        Text(certificate.not_after.as_deref().unwrap_or("unknown")),
    )
}

fn setting_row(setting: &api::Setting) -> String {
    let api::Setting { key, value } = setting;
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td class=\"words\">{}</td></tr>",
        Text(key),
        Text(value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_send_is_no_markup() {
        let evil = "<script>alert(\"'&\")</script>";
        assert_eq!(
            Text(evil).to_string(),
            "&lt;script&gt;alert(&quot;&#39;&amp;&quot;)&lt;/script&gt;"
        );
        let failure =
            api::Failure { reason: evil.to_owned(), detail: None, words: evil.to_owned() };
        let row = error_row(&api::Trouble {
            at: evil.to_owned(),
            ago_seconds: 0.0,
            times: 1,
            id: Some(evil.to_owned()),
            kind: evil.to_owned(),
            name: evil.to_owned(),
            way: evil.to_owned(),
            client: evil.to_owned(),
            failure,
        });
        assert!(!row.contains("<script"), "{row}");
    }

    #[test]
    fn each_part_has_its_place_on_the_page() {
        let page = page(&Parts::new());
        for id in ["title", "state", "peer", "names-0", "names-19", "links", "errors", "config"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(POLICY.contains("script-src 'sha256-"));
    }
}
