//! `ops-proxy status`: what the status page shows, in a terminal.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use super::ask::{Admin, NoAnswer};
use super::failure::Failure;
use super::table::{Column, plain, table};
use crate::limits::{STATUS_EVERY, STATUS_NAMES, TERMINAL_ERRORS};
use crate::observe::api::{self, State, Up};
use crate::observe::said::{brief, bytes, lasting};

/// Clears a terminal (ECMA-48: ED and CUP).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    admin: Admin,

    /// Print JSON instead, the answers of /api/v1/ in one object; with --watch, one a line
    #[arg(long)]
    json: bool,

    /// Go on, once a second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// All that is asked for.
#[derive(Debug, Serialize)]
struct Status {
    peer: api::Peer,
    names: api::Names,
    links: api::Links,
    requests: api::Requests,
    errors: api::Errors,
    certificates: api::Certificates,
    config: api::Config,
}

pub(super) fn status(options: &Options) -> Result<(), Failure> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        match options.watch {
            false => say(&options.shown(&Status::of(&options.admin).await?)?),
            true => watch(options).await,
        }
    })
}

async fn watch(options: &Options) -> Result<(), Failure> {
    // Nobody waits for a peer that was never there.
    Status::of(&options.admin).await?;
    let clear = if io::stdout().is_terminal() && !options.json { CLEAR } else { "" };
    let mut ticks = interval(STATUS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let shown = match Status::of(&options.admin).await {
            Ok(status) => options.shown(&status)?,
            Err(NoAnswer::NotFound(why) | NoAnswer::Failed(why)) => {
                super::log::say(format!("ops-proxy: {why}"));
                continue;
            }
        };
        match say(&format!("{clear}{shown}")) {
            // Whoever has read it has seen enough.
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

impl Options {
    fn shown(&self, status: &Status) -> Result<String, Failure> {
        if !self.json {
            return Ok(status.text());
        }
        let json = match self.watch {
            true => serde_json::to_string(status),
            false => serde_json::to_string_pretty(status),
        };
        Ok(json.map_err(io::Error::from)? + "\n")
    }
}

impl Status {
    async fn of(admin: &Admin) -> Result<Self, NoAnswer> {
        Ok(Self {
            peer: admin.ask("peer").await?,
            names: admin.ask(&format!("names?limit={STATUS_NAMES}")).await?,
            links: admin.ask("links").await?,
            requests: admin.ask("requests").await?,
            errors: admin.ask("errors").await?,
            certificates: admin.ask("certificates").await?,
            config: admin.ask("config").await?,
        })
    }

    fn text(&self) -> String {
        let peer = &self.peer;
        let state = match peer.state {
            State::Well => "well",
            State::Degraded => "degraded",
            State::Draining => "draining",
        };
        let mut text = format!("{} is {state}\n", plain(&peer.id));
        for reason in &peer.because {
            text.push_str(&format!("  {}\n", plain(reason)));
        }
        text.push_str(&format!(
            "ops-proxy {}, {}, {}{}, up {}\n{} of {} names up, {} links in, {} out, {} requests running, {} waiting for DATA\n",
            plain(&peer.version),
            peer.roles.join(" and "),
            plain(&peer.phase),
            if peer.ready { ", ready" } else { ", not ready" },
            lasting(peer.uptime_seconds),
            peer.names_up,
            peer.names,
            peer.links_in,
            peer.links_out,
            peer.requests,
            peer.pending,
        ));
        let upstreams: Vec<_> = peer.upstreams.iter().map(upstream).collect();
        let columns = [Column::Text("LISTENING PEER"), Column::Text("STATE")];
        add(&mut text, "Registers with", &columns, &upstreams, upstreams.len() as u64);
        self.add_names(&mut text);
        self.add_links(&mut text);
        self.add_requests(&mut text);
        self.add_errors(&mut text);
        self.add_certificates(&mut text);
        text
    }

    fn add_names(&self, text: &mut String) {
        let rows: Vec<_> = self.names.names.iter().map(name).collect();
        let columns = [
            Column::Text("NAME"),
            Column::Text("STATE"),
            Column::Text("WAYS"),
            Column::Text("SERVED BY"),
            Column::Number("RUNNING"),
            Column::Number("REQUESTS"),
            Column::Number("FAILED"),
            Column::Number("LAST MINUTE"),
            Column::Number("SENT"),
            Column::Number("RECEIVED"),
            Column::Text("ERRORS"),
        ];
        add(text, "Names", &columns, &rows, self.names.total);
    }

    fn add_links(&self, text: &mut String) {
        let row = |link: &api::Link| {
            vec![
                link.peer.clone().unwrap_or_else(|| "unknown".to_owned()),
                link.role.clone(),
                link.remote.clone().unwrap_or_default(),
                lasting(link.age_seconds),
                link.round_trip_seconds.map(brief).unwrap_or_default(),
                link.names.to_string(),
                link.idle_data.to_string(),
            ]
        };
        let rows: Vec<_> = self.links.links.iter().map(row).collect();
        let columns = [
            Column::Text("OTHER PEER"),
            Column::Text("THIS PEER IS"),
            Column::Text("ADDRESS"),
            Column::Number("OPEN FOR"),
            Column::Number("ROUND TRIP"),
            Column::Number("NAMES"),
            Column::Number("IDLE DATA"),
        ];
        add(text, "Links", &columns, &rows, self.links.total);
    }

    fn add_requests(&self, text: &mut String) {
        let row = |request: &api::Request| {
            vec![
                request.id.clone(),
                request.name.clone(),
                request.way.clone(),
                request.client.clone(),
                request.provider.clone(),
                lasting(request.age_seconds),
                bytes(request.bytes_sent),
                bytes(request.bytes_received),
            ]
        };
        let rows: Vec<_> = self.requests.requests.iter().map(row).collect();
        let columns = [
            Column::Text("ID"),
            Column::Text("NAME"),
            Column::Text("WAY"),
            Column::Text("CLIENT"),
            Column::Text("SERVED BY"),
            Column::Number("RUNS FOR"),
            Column::Number("SENT"),
            Column::Number("RECEIVED"),
        ];
        add(text, "Requests that run", &columns, &rows, self.requests.total);
    }

    fn add_errors(&self, text: &mut String) {
        let row = |one: &api::Trouble| {
            vec![
                format!("{} ago", lasting(one.ago_seconds)),
                one.name.clone(),
                one.failure.detail.clone().unwrap_or_else(|| one.failure.reason.clone()),
                one.client.clone(),
                one.times.to_string(),
                one.id.clone().unwrap_or_default(),
                one.failure.words.clone(),
            ]
        };
        let rows: Vec<_> = self.errors.errors.iter().take(TERMINAL_ERRORS).map(row).collect();
        let columns = [
            Column::Text("WHEN"),
            Column::Text("NAME"),
            Column::Text("REASON"),
            Column::Text("LAST CLIENT"),
            Column::Number("TIMES"),
            Column::Text("ID"),
            Column::Text("WHAT IT MEANS"),
        ];
        add(text, "Last errors", &columns, &rows, self.errors.total);
    }

    fn add_certificates(&self, text: &mut String) {
        let row = |one: &api::Certificate| {
            vec![
                one.subject.clone(),
                one.kind.clone(),
                one.state.clone(),
                one.days_left.map(|days| days.to_string()).unwrap_or_default(),
                one.not_after.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.certificates.certificates.iter().map(row).collect();
        let columns = [
            Column::Text("SUBJECT"),
            Column::Text("FOR"),
            Column::Text("STATE"),
            Column::Number("DAYS LEFT"),
            Column::Text("VALID UNTIL"),
        ];
        add(text, "Certificates", &columns, &rows, self.certificates.total);
    }
}

/// A table under its title, unless there is nothing in it.
fn add(text: &mut String, title: &str, columns: &[Column], rows: &[Vec<String>], total: u64) {
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}\n{}", table(columns, rows)));
    let more = total.saturating_sub(rows.len() as u64);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
}

fn up(state: Up) -> String {
    match state {
        Up::Up => "up".to_owned(),
        Up::Down => "down".to_owned(),
    }
}

fn upstream(upstream: &api::Upstream) -> Vec<String> {
    vec![upstream.address.clone(), up(upstream.state)]
}

fn name(name: &api::Name) -> Vec<String> {
    let mut state = up(name.state);
    if let Some(down_for) = name.down_for_seconds {
        state.push_str(&format!(" for {}", lasting(down_for)));
    }
    let failing = name.service.as_ref().filter(|one| one.health == Some(Up::Down));
    if let Some(failure) = failing.and_then(|one| one.last_failure.as_ref()) {
        state.push_str(&format!(" ({failure})"));
    } else if name.unhealthy {
        state.push_str(" (its backend fails its checks)");
    }
    let errors: Vec<_> = name.errors.iter().map(|(why, count)| format!("{why} {count}")).collect();
    vec![
        name.name.clone(),
        state,
        name.ways.join(","),
        name.providers.join(","),
        name.active.to_string(),
        (name.requests + name.served.requests).to_string(),
        (name.failed + name.served.failed).to_string(),
        name.last_minute.requests.to_string(),
        bytes(name.bytes_sent + name.served.bytes_sent),
        bytes(name.bytes_received + name.served.bytes_received),
        errors.join(", "),
    ]
}
