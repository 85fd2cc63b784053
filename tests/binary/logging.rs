//! The log: whoever writes it waits for nobody, and no stranger fills it.

use std::fs::File;
use std::process::Stdio;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::{NAME, launch, listening};

/// More lines than a pipe and the queue before it hold, of some hundred bytes each.
const MANY: usize = 10_000;

/// Connections at a time.
const AT_ONCE: usize = 50;

/// Connects `MANY` times, says `first` each time, and waits for the end.
async fn provoke(to: std::net::SocketAddr, first: &'static str) {
    let mut strangers = JoinSet::new();
    for _ in 0..AT_ONCE {
        strangers.spawn(async move {
            for _ in 0..MANY / AT_ONCE {
                let mut stream = connect(to).await;
                let _ = stream.write_all(first.as_bytes()).await;
                let _ = client::to_end(&mut stream).await;
            }
        });
    }
    strangers.join_all().await;
}

async fn rejected(peer: &Peer, reason: &str) -> f64 {
    peer.metrics().await.value("ops_proxy_rejected_total", &[("reason", reason)])
}

async fn dropped(peer: &Peer) -> f64 {
    peer.metrics().await.value("ops_proxy_log_lines_dropped_total", &[])
}

/// A peer that serves [`NAME`], logs all that there is to `stderr`, and is provoked to
/// log a lot: it serves on, and ends when it is told to.
async fn serves_on_with(stderr: impl Into<Stdio>) {
    let backend = Backend::http().await;
    let args =
        format!("run --service {NAME}={} --drain-grace 10ms --log-level trace", backend.addr());
    let mut public = launch().args(&args).peer_logging_to(stderr).await;
    provoke(public.listen(), "\0").await;
    assert_eq!(rejected(&public, "unknown_protocol").await, MANY as f64);
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
    assert!(dropped(&public).await > 0.0, "what was lost is counted");
    public.terminate();
    assert_eq!(public.exit_code().await, 0, "nor does the log hold up the exit");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request() {
    let (unread, stderr) = std::io::pipe().unwrap();
    serves_on_with(stderr).await;
    drop(unread);
}

#[tokio::test]
async fn a_log_on_a_full_disk_holds_up_no_request() {
    serves_on_with(File::options().write(true).open("/dev/full").unwrap()).await;
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_holds_up_no_request() {
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    serves_on_with(stderr).await;
}

#[tokio::test]
async fn an_error_is_told_by_the_exit_code_where_nobody_can_be_told_more() {
    let stderr = File::options().write(true).open("/dev/full").unwrap();
    let (_held, addr) = ops_proxy_tests::backend::listener().await;
    let args = format!("run --listen {addr} --admin none");
    let (code, _, _) = launch().args(&args).start_logging_to(stderr).output().await;
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn a_stranger_who_is_refused_ten_thousand_times_gets_a_few_lines_and_a_summary() {
    let mut public = listening("--drain-grace 10ms").await;
    provoke(public.listen(), "HELLO:9:p\n").await;
    assert_eq!(rejected(&public, "unsupported_version").await, MANY as f64);
    let metrics = public.metrics().await;
    let reason = [("reason", "unsupported_version")];
    let left_out = metrics.value("ops_proxy_log_lines_suppressed_total", &reason);
    public.terminate();
    assert_eq!(public.exit_code().await, 0);

    let events = public.events();
    let refused = events.iter().filter(|event| event.message() == "a peer was refused").count();
    assert!((1..100).contains(&refused), "{refused} lines");
    assert_eq!(refused as f64 + left_out, MANY as f64, "each is in the log or counted");
    let summaries = events.iter().filter(|event| event.field("reason") == "unsupported_version");
    let told = summaries.filter_map(|event| {
        let rest = event.message().strip_prefix("and ")?;
        let (count, source) = rest.split_once(" more like it from ")?;
        assert!(source.starts_with("127.0.0.1 in the last "), "{source}");
        Some(count.parse::<f64>().unwrap())
    });
    assert_eq!(told.sum::<f64>(), left_out, "the summaries tell of all");
}

#[tokio::test]
async fn an_error_from_a_peer_ends_its_link_and_is_not_answered() {
    let public = listening("").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    public.serves(&[NAME]).await;
    let text = "\"no\" ".repeat(1_000);
    peer.send(&format!("ERROR:bad_line:{text}")).await;
    assert_eq!(peer.line().await, "", "closed, and nothing answered");
    public.serves(&[]).await;
    let ended = until("the link's end in the log", async || {
        public.events().into_iter().find(|event| event.message() == "link down")
    })
    .await;
    let reason = ended.field("reason");
    assert!(reason.starts_with(r#"the peer reported bad_line: "\"no\" "#), "{reason}");
    assert!(reason.len() < 500, "cut: {reason}");
}
