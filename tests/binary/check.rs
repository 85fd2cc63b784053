//! What `check` and `run` say of files that others can touch, and of services that the
//! certificate does not permit.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::Event;

use crate::{NAME, launch, listening};

const TOKEN: &str = "token-0123456789abcdef0123456789abcdef";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs a command line to its end; its exit code and what it said to stderr.
async fn ends(line: &str) -> (Option<i32>, String) {
    let (code, _, stderr) = launch().args(line).start().output().await;
    (code, stderr)
}

/// A peer that uses every kind of file, readable for their owner only.
fn everything(ca: &Ca) -> String {
    let files = ca.issue("site", Request::peer("site", &[NAME, "127.0.0.1"]));
    let token = ca.write("token", TOKEN);
    let accepted = ca.write("tokens.toml", &format!("[[token]]\nsecret = '{TOKEN}'\n"));
    let crl = ca.revoke(7);
    let flags = ca.flags(&files);
    let config = ca.write("config.toml", "heartbeat = '5s'\n");
    for file in [&files.cert, &files.key, &token, &accepted, &crl, &config, &ca.path("ca.pem")] {
        chmod(file, 0o600);
    }
    format!(
        "--peer-id site --connect 127.0.0.1:1 --listen 127.0.0.1:0 --service {NAME}=127.0.0.1:1 \
         {flags} --tls-crl {} --token-file {} --accept-tokens {} --config {}",
        crl.display(),
        token.display(),
        accepted.display(),
        config.display(),
    )
}

/// The secrets, with the keys of their files.
const SECRETS: [(&str, &str); 3] =
    [("tls_key", "site-key.pem"), ("token_file", "token"), ("accept_tokens", "tokens.toml")];

#[tokio::test]
async fn a_secret_that_anyone_can_read_is_warned_about_with_the_remedy() {
    let ca = Ca::new("ca");
    let args = everything(&ca);
    let (code, said) = ends(&format!("check {args}")).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "nothing to warn of");
    for (key, file) in SECRETS {
        let path = ca.path(file);
        for (mode, is_warned_of) in [(0o640, false), (0o604, true)] {
            chmod(&path, mode);
            let remedy = format!("run: chmod 600 {}", path.display());
            let warned = |said: &str| said.contains(&remedy) && said.contains(&format!("{key}: "));
            let (code, said) = ends(&format!("check {args}")).await;
            assert_eq!(code, Some(0), "{key}: {said}");
            assert_eq!(warned(&said), is_warned_of, "{key} {mode:o}: {said}");
            let peer = launch().args(&format!("run {args}")).peer().await;
            let warns = |event: &Event| event.level() == "WARN" && warned(event.message());
            if is_warned_of {
                peer.logged(&remedy, warns).await;
            } else {
                assert!(!peer.events().iter().any(warns), "{key} {mode:o}: {}", peer.log());
            }
        }
        chmod(&path, 0o600);
    }
}

#[tokio::test]
async fn a_file_that_anyone_can_write_is_exit_2_with_the_remedy() {
    let ca = Ca::new("ca");
    let args = everything(&ca);
    let others = [
        ("tls_cert", "site.pem"),
        ("tls_ca", "ca.pem"),
        ("tls_crl", "crl.pem"),
        ("config", "config.toml"),
    ];
    for (key, file) in SECRETS.into_iter().chain(others) {
        let path = ca.path(file);
        chmod(&path, 0o602);
        for command in ["check", "run"] {
            let (code, said) = ends(&format!("{command} {args} --admin none")).await;
            assert_eq!(code, Some(2), "{command}, {key}: {said}");
            let remedy = format!("run: chmod o-w {}", path.display());
            assert!(said.contains(&format!("{key}: ")), "{command}, {key}: {said}");
            assert!(said.contains(&remedy), "{command}, {key}: {said}");
        }
        chmod(&path, 0o620);
        assert_eq!(ends(&format!("check {args}")).await.0, Some(0), "{key}: the group may");
        chmod(&path, 0o600);
    }
}

#[tokio::test]
async fn of_a_symbolic_link_the_target_counts() {
    let ca = Ca::new("ca");
    let args = everything(&ca);
    let (key, target) = (ca.path("site-key.pem"), ca.path("target"));
    fs::rename(&key, &target).unwrap();
    symlink(&target, &key).unwrap();
    let (code, said) = ends(&format!("check {args}")).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    chmod(&target, 0o602);
    let (code, said) = ends(&format!("check {args}")).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("tls_key: "), "{said}");
}

#[tokio::test]
async fn a_file_that_anyone_can_write_from_now_on_is_not_loaded() {
    let ca = Ca::new("ca");
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let mut hub = listening(&format!("--peer-id hub {}", ca.flags(&files))).await;
    let counted = |metrics: &Metrics| {
        let value = |family| metrics.value(family, &[]);
        (value("ops_proxy_tls_reload_failed_total"), value("ops_proxy_tls_reloads_total"))
    };
    ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    chmod(&ca.path("ca.pem"), 0o646);
    hub.process().hang_up();
    hub.until("the refused look", |metrics| counted(metrics).0 == 1.0).await;
    assert_eq!(counted(&hub.metrics().await).1, 0.0);
    hub.logged("the remedy", |event| event.field("error").contains("chmod o-w")).await;
    chmod(&ca.path("ca.pem"), 0o644);
    hub.process().hang_up();
    hub.until("the good look", |metrics| counted(metrics).1 == 1.0).await;
}

/// A connecting peer with a certificate for [`NAME`] and `*.dev.example`.
fn connecting(ca: &Ca, services: &[&str]) -> String {
    let files = ca.issue("site", Request::peer("site", &[NAME, "*.dev.example"]));
    chmod(&files.key, 0o600);
    let services = services.iter().map(|name| format!(" --service {name}=127.0.0.1:1"));
    let services: String = services.collect();
    format!("--peer-id site --connect 127.0.0.1:1 {}{services}", ca.flags(&files))
}

#[tokio::test]
async fn services_that_the_certificate_does_not_permit_are_named_with_the_remedy() {
    let ca = Ca::new("ca");
    let good = connecting(&ca, &[NAME, "*.dev.example", "a.dev.example"]);
    let (code, said) = ends(&format!("check {good}")).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));

    let bad = connecting(&ca, &[NAME, "one.example", "a.dev.example", "*.two.example"]);
    let (code, said) = ends(&format!("check {bad}")).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("service: "), "{said}");
    assert!(said.contains("does not permit *.two.example one.example;"), "{said}");
    let remedy = format!(
        "ops-proxy pki issue --force --peer site --name '*.two.example' --name 'a.dev.example' \
         --name '{NAME}' --name 'one.example'"
    );
    assert!(said.contains(&remedy), "{said}");

    // The peer runs all the same: the others may be registered.
    let peer = launch().args(&format!("run {bad}")).peer().await;
    let warns = |event: &Event| event.level() == "WARN" && event.message().contains(&remedy);
    peer.logged(&remedy, warns).await;
}

#[tokio::test]
async fn what_a_token_or_plaintext_permits_is_not_for_check_to_know() {
    let ca = Ca::new("ca");
    let token = ca.write("token", TOKEN);
    chmod(&token, 0o600);
    let services = connecting(&ca, &["one.example", "*.local"]);
    let by_token = format!("check {services} --token-file {}", token.display());
    assert_eq!(ends(&by_token).await, (Some(0), String::new()));
    let plaintext = "check --connect 127.0.0.1:1 --service *.local=127.0.0.1:1";
    assert_eq!(ends(plaintext).await, (Some(0), String::new()));
}

#[tokio::test]
async fn a_wildcard_that_no_certificate_can_be_valid_for_is_exit_2() {
    let ca = Ca::new("ca");
    let files = ca.issue("site", Request::peer("site", &[NAME, "*.local"]));
    let flags = ca.flags(&files);
    let line =
        format!("check --peer-id site --connect 127.0.0.1:1 {flags} --service *.local=127.0.0.1:1");
    let (code, said) = ends(&line).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("service: ") && said.contains("a wildcard followed by a single label"),
        "{said}"
    );
}
