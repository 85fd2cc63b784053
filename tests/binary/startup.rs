//! Starting: what is refused, with which words and exit code, and which source of
//! a setting wins.

use std::io::Write;

use ops_proxy_tests::backend;
use tempfile::NamedTempFile;

use crate::{NAME, launch};

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Runs the command to its end and checks its code and words. It never says that
/// it is ready.
async fn assert_refused(args: &str, code: i32, words: &[&str]) {
    let (found, _, stderr) = launch().args(args).start().output().await;
    assert_eq!(found, Some(code), "{args}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args}: {word:?} is not in {stderr:?}");
    }
    assert!(!stderr.contains("panicked"), "{args}: {stderr}");
    assert!(!stderr.contains(" ready"), "{args}: {stderr}");
}

#[tokio::test]
async fn an_address_in_use_is_named_and_exit_1() {
    let (_held, addr) = backend::listener().await;
    let in_use = addr.to_string();
    for args in [
        format!("run --listen {addr} --admin none"),
        format!("run --listen 127.0.0.1:0 --tcp {addr}={NAME} --admin none"),
        format!("run --listen 127.0.0.1:0 --admin {addr}"),
    ] {
        assert_refused(&args, 1, &[&in_use]).await;
    }
}

#[tokio::test]
async fn a_bad_flag_is_named_and_exit_2() {
    for (args, words) in [
        ("", &["Usage"][..]),
        ("run", &["listen"]),
        ("run --nonsense", &["--nonsense"]),
        ("run --listen nonsense", &["--listen", "nonsense"]),
        ("run --listen 127.0.0.1:0 --data-timeout 0s", &["data_timeout"]),
        ("run --listen 127.0.0.1:0 --heartbeat 1m --peer-timeout 1m", &["heartbeat"]),
        ("run --listen 127.0.0.1:0 --service x", &["--service", "NAME=HOST:PORT"]),
        ("run --listen 127.0.0.1:0 --service _x=127.0.0.1:1", &["--service", "routing name"]),
        ("run --listen 127.0.0.1:0 --tcp 127.0.0.1:0", &["--tcp", "ADDR=NAME"]),
        ("run --connect 127.0.0.1:1", &["service"]),
        ("run --connect nowhere --service a=127.0.0.1:1", &["--connect", "HOST:PORT"]),
        ("run --listen 127.0.0.1:0 --trusted-proxies everyone", &["--trusted-proxies"]),
        ("run --listen 127.0.0.1:0 --config /nowhere/at/all", &["config", "/nowhere/at/all"]),
    ] {
        assert_refused(args, 2, words).await;
    }
}

#[tokio::test]
async fn plaintext_peers_beyond_loopback_need_to_be_allowed() {
    for (args, key) in [
        ("run --listen 0.0.0.0:0", "listen"),
        ("run --connect 192.0.2.1:1 --service a=127.0.0.1:1", "connect"),
    ] {
        assert_refused(args, 2, &[key, "--insecure-plaintext"]).await;
    }
    let allowed = launch().args("run --listen 0.0.0.0:0 --insecure-plaintext").peer().await;
    assert!(allowed.listen().ip().is_unspecified());
}

#[tokio::test]
async fn a_bad_environment_is_named_and_exit_2() {
    let launch = launch().args("run").env("OPS_PROXY_LISTEN", "nonsense");
    let (code, _, stderr) = launch.start().output().await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("listen") && stderr.contains("nonsense"), "{stderr}");
}

#[tokio::test]
async fn no_workers_at_all_are_refused() {
    assert_refused("run --listen 127.0.0.1:0 --workers 0", 2, &["--workers"]).await;
    let file = file("listen = '127.0.0.1:0'\nworkers = 0\n");
    let path = file.path().to_str().unwrap();
    assert_refused(&format!("run --config {path}"), 2, &["workers", "nonzero"]).await;
}

#[tokio::test]
async fn a_bad_file_is_refused_by_run_and_check_alike() {
    for (text, words) in [
        ("listen = '127.0.0.1:0'\nlisen = 'x'\n", &["lisen", "line 2", "listen"][..]),
        ("listen = 'nonsense'\n", &["listen"]),
        ("listen = '127.0.0.1:0'\npeer_timeout = '0s'\n", &["peer_timeout"]),
        ("listen = \n", &["config"]),
        ("listen = '127.0.0.1:0'\nservice = ['a=b']\n", &["service", "HOST:PORT"]),
    ] {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        assert_refused(&format!("check --config {path}"), 2, words).await;
        assert_refused(&format!("run --config {path}"), 2, words).await;
    }
}

#[tokio::test]
async fn check_says_what_a_good_file_means_and_starts_nothing() {
    let (_held, in_use) = backend::listener().await;
    let file = file(&format!("listen = '{in_use}'\nservice = ['{NAME}=127.0.0.1:8080']\n"));
    let args = format!("check --config {}", file.path().to_str().unwrap());
    let (code, stdout, stderr) = launch().args(&args).start().output().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(&in_use.to_string()) && stdout.contains(NAME), "{stdout}");
}

/// The three sources name three addresses; the one that is bound has won.
#[tokio::test]
async fn flags_win_over_environment_and_environment_over_file() {
    let file = file("listen = '127.0.0.4:0'\n");
    let config = format!("run --config {}", file.path().to_str().unwrap());
    let from_file = launch().args(&config);
    let from_environment = launch().args(&config).env("OPS_PROXY_LISTEN", "127.0.0.3:0");
    let from_flag =
        launch().args(&config).env("OPS_PROXY_LISTEN", "127.0.0.3:0").args("--listen 127.0.0.2:0");
    for (launch, bound) in
        [(from_file, "127.0.0.4"), (from_environment, "127.0.0.3"), (from_flag, "127.0.0.2")]
    {
        let peer = launch.peer().await;
        assert_eq!(peer.listen().ip().to_string(), bound);
    }
}

#[tokio::test]
async fn help_and_version_are_no_failures() {
    for args in ["--help", "--version", "run --help"] {
        let (code, stdout, _) = launch().args(args).start().output().await;
        assert_eq!(code, Some(0), "{args}");
        assert!(!stdout.is_empty(), "{args}");
    }
}
