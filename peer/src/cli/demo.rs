//! `ops-proxy demo`: three peers and their backends on loopback, a request through
//! them in every possible way, and the metrics that result.

mod backends;
mod loopback;
mod mesh;
mod moved;
mod requests;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;

use super::failure::Failure;
use super::log::Log;
use super::settings::LogFormat;
use super::signals::Signals;
use mesh::{ECHO, Mesh, SECURE, WEB};
use requests::Shown;

/// The demo's options.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Exit after the demo's own requests, with code 1 if any failed
    #[arg(long)]
    once: bool,

    /// Also log to stderr, at this level and above
    #[arg(long, env = "OPS_PROXY_LOG_LEVEL", value_name = "LEVEL", default_value = "off")]
    log_level: LevelFilter,
}

pub(super) fn demo(options: Options) -> Result<(), Failure> {
    let log = Log::to_stderr(LogFormat::Text, options.log_level);
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(show(options.once, &log));
    runtime.shutdown_background();
    outcome
}

async fn show(once: bool, log: &Log) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mesh = Mesh::start().await?;
    mesh.hub.export_lost_log_lines(log.lost_lines());
    let went_wrong = tokio::select! {
        biased;
        () = signals.next(|| (), || ()) => return Err(Failure::Interrupted),
        went_wrong = show_requests(&mesh) => went_wrong?,
    };
    if went_wrong > 0 {
        return Err(Failure::Demo(format!("{went_wrong} of the demo's own requests failed")));
    }
    if once {
        return Ok(());
    }
    say(&what_to_try(&mesh))?;
    signals.next(|| (), || ()).await;
    Ok(())
}

/// Prints the mesh, sends the requests, and prints their results and the metrics
/// that changed. Returns how many requests failed.
async fn show_requests(mesh: &Mesh) -> Result<usize, Failure> {
    say(&topology(mesh))?;
    mesh.registered().await?;
    let before = mesh.hub.metrics_text();
    say("\nRequests through the hub\n")?;
    let mut went_wrong = 0;
    for request in requests::all(mesh) {
        let shown = request.await;
        went_wrong += usize::from(shown.outcome.is_err());
        say(&line(&shown))?;
    }
    mesh.quiet().await?;
    say("\nMetrics of the hub that changed (node and pod labels left out)\n")?;
    for line in moved::lines(&before, &mesh.hub.metrics_text()) {
        say(&format!("  {line}\n"))?;
    }
    Ok(went_wrong)
}

fn topology(mesh: &Mesh) -> String {
    format!(
        "Three peers on loopback\n  \
         hub     listens on {}, and on {} for {ECHO}\n  \
         site-a  listens nowhere; connects to the hub and serves {WEB} and {SECURE}\n  \
         site-b  listens nowhere; connects to the hub and serves {WEB} and {ECHO}\n",
        mesh.public, mesh.echo_port
    )
}

fn line(shown: &Shown) -> String {
    let mut line = format!("  {:<11} {:<12} ", shown.way, shown.name);
    // Writing to a String cannot fail.
    let _ = match &shown.outcome {
        Ok(answer) => writeln!(line, "{:<7} {}", answer.from, answer.what),
        Err(error) => writeln!(line, "FAILED: {error}"),
    };
    line
}

fn what_to_try(mesh: &Mesh) -> String {
    let (public, echo_port) = (mesh.public, mesh.echo_port);
    format!(
        "\nTry it\n  \
         curl http://{public}/ -H 'Host: {WEB}'\n  \
         curl -p -x http://{public} http://{WEB}/\n  \
         curl -k --connect-to ::{public} https://{SECURE}/\n  \
         nc {} {}\n\n\
         Look around\n  \
         status   http://{admin}/\n  \
         metrics  http://{admin}/metrics\n\n\
         Press Ctrl-C to stop.\n",
        echo_port.ip(),
        echo_port.port(),
        admin = mesh.admin,
    )
}

fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peer;
    use crate::stream::net::tokio::TokioNet;

    #[tokio::test]
    async fn every_way_through_the_mesh_works_and_the_readme_names_every_metric() {
        let mesh = Mesh::start().await.unwrap();
        mesh.registered().await.unwrap();
        for request in requests::all(&mesh) {
            let shown = request.await;
            assert!(shown.outcome.is_ok(), "{}", line(&shown));
        }
        mesh.quiet().await.unwrap();

        let backend = ("another.demo", mesh.public);
        let site = mesh::site("site-c", mesh.public, [backend; 2]);
        let site = Peer::start(site, TokioNet).await.unwrap().handle();
        let readme = include_str!("../../../README.md");
        for metrics in [mesh.hub.metrics_text(), site.metrics_text()] {
            for family in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ops_proxy_"))
            {
                let name = family.split(' ').next().unwrap();
                assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
            }
        }
    }
}
