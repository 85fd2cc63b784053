//! `ops-proxy trace ID`: what became of one request.

use std::io::{self, Write};

use tokio::runtime::Runtime;

use super::ask::{Admin, NoAnswer};
use super::failure::Failure;
use super::table::plain;
use crate::limits::ENDED_KEPT;
use crate::observe::api::{Request, Requests};
use crate::observe::said::{brief, bytes};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The proxy id of the request, from the log, the access log or the status page
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    admin: Admin,
}

pub(super) fn trace(options: &Options) -> Result<(), Failure> {
    let Options { id, admin } = options;
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'.';
    if id.is_empty() || !id.bytes().all(is_id) {
        return Err(Failure::Asked(format!(
            "{}: not a proxy id: expected 32 hex digits, as in the log",
            plain(id)
        )));
    }
    let path = format!("requests/{}", id.to_ascii_lowercase());
    let found = Runtime::new()?.block_on(admin.ask::<Requests>(&path));
    let found = match found {
        Ok(found) => found,
        Err(NoAnswer::NotFound(_)) => {
            return Err(Failure::Asked(format!(
                "the peer on {} knows no request {id}: it went through another peer (ask that one with --admin), or is not among the last {ENDED_KEPT} that ended",
                admin.address()
            )));
        }
        Err(other) => return Err(other.into()),
    };
    let stories: Vec<String> = found.requests.iter().map(story).collect();
    io::stdout().write_all(stories.join("\n").as_bytes())?;
    Ok(())
}

/// What became of it, in the order in which it happened.
fn story(request: &Request) -> String {
    let outcome = match (request.outcome.as_str(), &request.failure) {
        ("failed", Some(failure)) => {
            format!("failed: {}", failure.detail.as_ref().unwrap_or(&failure.reason))
        }
        (outcome, _) => outcome.to_owned(),
    };
    let mut lines = vec![
        format!("{} {outcome}", request.id),
        format!("  name      {} by {}", request.name, request.way),
        format!("  client    {}", request.client),
    ];
    let begin = match (request.kind.as_str(), &request.asked_by, &request.first_tried) {
        ("served", Some(hub), _) => format!("{hub} asked this peer to serve it"),
        ("served", None, _) => "a listening peer asked this one to serve it".to_owned(),
        (_, _, Some(first)) => {
            format!("routed to {}, which failed, as {}", first.provider, first.id)
        }
        _ => format!("routed to {}", request.provider),
    };
    lines.push(format!("  {}  {begin}", request.began));
    let mut then = |after: Option<f64>, what: String| {
        if let Some(after) = after {
            lines.push(format!("  {:>20}  {what}", format!("+{}", brief(after))));
        }
    };
    let provider = &request.provider;
    let ready = match (request.kind.as_str(), &request.first_tried) {
        ("served", _) => "the backend was reached, and DATA sent".to_owned(),
        (_, Some(_)) => format!("{provider} took it instead"),
        _ => format!("{provider} was ready for it"),
    };
    then(request.connected_after_seconds, ready);
    then(request.first_byte_after_seconds, "the first byte of the backend".to_owned());
    let age = Some(request.age_seconds);
    match &request.failure {
        Some(failure) => then(age, format!("{}: {}", failure.reason, failure.words)),
        None if request.outcome == "running" => then(age, "it still runs".to_owned()),
        None => then(age, "it ended well".to_owned()),
    }
    let (sent, received) = (bytes(request.bytes_sent), bytes(request.bytes_received));
    lines.push(format!("  carried   {sent} to the backend, {received} to the client"));
    if request.http_requests > 0 {
        let last = request.last_status.map_or_else(
            || "none was answered".to_owned(),
            |status| format!("the last answer was {status}"),
        );
        lines.push(format!("  in it     {} HTTP requests; {last}", request.http_requests));
    }
    lines.iter().map(|line| plain(line) + "\n").collect()
}
