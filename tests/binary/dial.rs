//! `check`: where each setting comes from; and with `--dial`, what cannot be reached, why, and
//! what to do. A running peer notices nothing of it.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use ops_proxy_tests::backend;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Files, Request};
use ops_proxy_tests::process::Peer;
use tempfile::TempDir;

use crate::{NAME, launch, listening};

const TOKEN: &str = "token-0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "s3cr3t.word";

/// Nobody listens there.
const CLOSED: &str = "127.0.0.1:1";

/// Runs `check --dial`; its exit code, what it printed, and what it said to stderr.
async fn dials(args: &str) -> (Option<i32>, String, String) {
    launch().args("check --dial").args(args).start().output().await
}

/// The row of the table about this part of the way to `what`.
fn row<'a>(printed: &'a str, what: &str, part: &str) -> &'a str {
    let is_row = |line: &&str| {
        let mut words = line.trim_start().strip_prefix(what).map(str::split_whitespace);
        // An upstream may be followed by its address.
        words.as_mut().is_some_and(|words| words.any(|word| word == part))
    };
    let dialled = printed.split("DIALLED").nth(1).expect("something was dialled");
    dialled.lines().find(is_row).unwrap_or_else(|| panic!("no {part} of {what} in:\n{printed}"))
}

/// What could not be reached is exit code 1, and the row says why and what to do.
async fn assert_fails(args: &str, what: &str, part: &str, words: &[&str]) {
    let (code, printed, said) = dials(args).await;
    assert_eq!(code, Some(1), "{printed}\n{said}");
    let row = row(&printed, what, part);
    assert!(row.contains(" FAILED "), "{row}");
    for word in words {
        assert!(row.contains(word), "{word:?} is not in {row:?}");
    }
    assert!(said.contains("could not be reached"), "{said}");
}

/// A hub with a certificate from this CA.
async fn hub(ca: &Ca, args: &str) -> Peer {
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    listening(&format!("--peer-id hub {} {args}", ca.flags(&files))).await
}

/// Readable for its owner only, so that nothing is to be warned of.
fn issue(ca: &Ca) -> Files {
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
    files
}

/// The settings of a site with a certificate for [`NAME`].
fn site(ca: &Ca, hub: SocketAddr, backend: impl std::fmt::Display) -> String {
    let flags = ca.flags(&issue(ca));
    format!("--peer-id site --connect {hub} {flags} --service {NAME}={backend}")
}

/// A backend that accepts connections.
async fn backend() -> (tokio::net::TcpListener, SocketAddr) {
    backend::listener().await
}

#[tokio::test]
async fn a_good_way_is_said_to_be_one_step_by_step_and_a_running_peer_notices_nothing() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let (_held, backend) = backend().await;
    let settings = site(&ca, hub.listen(), backend);
    let running = launch().args("run").args(&settings).peer().await;
    hub.serves(&[NAME]).await;
    let at_hub = |metrics: &Metrics| {
        let of_name = |family| metrics.value(family, &[("client_name", NAME)]);
        [
            of_name("ops_proxy_client_registrations_total"),
            of_name("ops_proxy_client_disconnects_total"),
            of_name("ops_proxy_client_up"),
            metrics.value("ops_proxy_clients_total", &[]),
            metrics.value("ops_proxy_peer_id_conflicts_total", &[]),
        ]
    };
    let before = at_hub(&hub.metrics().await);

    let (code, printed, said) = dials(&settings).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{printed}");
    let upstream = hub.listen().to_string();
    for (what, part, words) in [
        (upstream.as_str(), "TCP", "accepts connections"),
        (&upstream, "TLS", "certificate of peer hub of test, valid for "),
        (&upstream, "identity", "peer hub lets this peer in as site"),
        (&upstream, "names", "its service may be registered"),
        (NAME, "backend", "accepts connections"),
    ] {
        let row = row(&printed, what, part);
        assert!(row.contains(" ok ") && row.contains(words), "{row}");
    }

    assert_eq!(at_hub(&hub.metrics().await), before);
    let metrics = running.metrics().await;
    assert_eq!(metrics.value("ops_proxy_client_replaced_total", &[]), 0.0);
    let ups = running.events().iter().filter(|event| event.message().contains("link up")).count();
    assert_eq!(ups, 1, "{}", running.log());
    let refused = hub.events().iter().any(|event| event.message().contains("refused"));
    assert!(!refused, "{}", hub.log());
    hub.logged("who came", |event| event.field("peer").starts_with("site/check-")).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let args =
        format!("--insecure-plaintext --connect nowhere.invalid:8443 --service {NAME}={CLOSED}");
    let words = ["cannot resolve nowhere.invalid:8443"];
    assert_fails(&args, "nowhere.invalid:8443", "DNS", &words).await;
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_named() {
    let args = format!("--connect {CLOSED} --service {NAME}={CLOSED}");
    let words = ["refused", "is the listening peer running", "firewall", "port 1"];
    assert_fails(&args, CLOSED, "TCP", &words).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let args = format!("--connect 192.0.2.1:8443 --insecure-plaintext --service {NAME}={CLOSED}");
    let via = format!("http://user:{PASSWORD}@{CLOSED}");
    let checked = launch().args("check --dial").args(&args).env("OPS_PROXY_VIA", &via);
    let (code, printed, said) = checked.start().output().await;
    assert_eq!(code, Some(1), "{said}");
    let row = row(&printed, "192.0.2.1:8443", "proxy");
    assert!(row.contains("FAILED") && row.contains(CLOSED) && row.contains("refused"), "{row}");
    assert!(!format!("{printed}{said}").contains(PASSWORD), "{printed}{said}");
}

#[tokio::test]
async fn a_certificate_from_another_ca_is_named_whoever_does_not_trust_it() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let strange = hub(&other, "").await;
    let args = site(&ca, strange.listen(), CLOSED);
    let upstream = strange.listen().to_string();
    let words = ["its certificate is not from a CA in tls_ca"];
    assert_fails(&args, &upstream, "TLS", &words).await;

    // The site trusts the hub, and the hub does not trust the site.
    let files = issue(&ca);
    let args = format!(
        "--peer-id site --connect {upstream} --service {NAME}={CLOSED} --tls-cert {} --tls-key {} \
         --tls-ca {}",
        files.cert.display(),
        files.key.display(),
        other.path("ca.pem").display()
    );
    let words = ["refuses the certificate of this peer", "the tls_ca of that peer"];
    assert_fails(&args, &upstream, "identity", &words).await;
}

/// A hub that takes one token for [`NAME`] alone, and the settings of a site that shows `token`.
async fn by_token(ca: &Ca, token: &str, services: &str) -> (Peer, String) {
    let rules = format!("[[token]]\nsecret = '{TOKEN}'\nnames = ['{NAME}']\n");
    let accepted = ca.write("tokens.toml", &rules);
    let hub = hub(ca, &format!("--accept-tokens {}", accepted.display())).await;
    let file = ca.write("token", token);
    let args = format!(
        "--peer-id site --connect {} --tls-ca {} --token-file {} {services}",
        hub.listen(),
        ca.path("ca.pem").display(),
        file.display(),
    );
    (hub, args)
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_said_to_be_none() {
    let ca = Ca::new("ca");
    let services = format!("--service {NAME}={CLOSED}");
    let (hub, args) = by_token(&ca, &TOKEN.replace("token", "other"), &services).await;
    let words = ["does not let this peer in", "token", "log of that peer"];
    assert_fails(&args, &hub.listen().to_string(), "identity", &words).await;
}

#[tokio::test]
async fn a_hub_that_wants_tls_is_said_to_want_it() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let upstream = hub.listen().to_string();
    let args = format!("--peer-id site --connect {upstream} --service {NAME}={CLOSED}");
    assert_fails(&args, &upstream, "identity", &["no unencrypted peers", "set tls_ca"]).await;
}

#[tokio::test]
async fn names_that_the_hub_does_not_permit_are_named_and_nothing_is_registered() {
    let ca = Ca::new("ca");
    let services = format!("--service {NAME}={CLOSED} --service db.example={CLOSED}");
    let (hub, args) = by_token(&ca, TOKEN, &services).await;
    let upstream = hub.listen().to_string();
    assert_fails(&args, &upstream, "names", &["does not permit db.example;", "rule"]).await;
    let (_, printed, _) = dials(&args).await;
    assert!(!row(&printed, &upstream, "names").contains(NAME), "{printed}");

    let (_held, backend) = backend().await;
    let (hub, args) = by_token(&ca, TOKEN, &format!("--service {NAME}={backend}")).await;
    let (code, printed, said) = dials(&args).await;
    assert_eq!(code, Some(0), "{printed}{said}");
    assert_eq!(hub.metrics().await.value("ops_proxy_clients_total", &[]), 0.0);
}

#[tokio::test]
async fn a_backend_that_is_down_or_fails_its_check_is_named() {
    let args = format!("--listen 127.0.0.1:0 --service {NAME}={CLOSED}");
    let words = [CLOSED, "refused", "start the backend"];
    assert_fails(&args, NAME, "backend", &words).await;

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("site.toml");
    let answers = backend::Backend::http().await;
    let table = format!(
        "listen = '127.0.0.1:0'\n[[service]]\nname = '{NAME}'\nbackend = '{}'\n\
         health = {{ http = '/', expect = '404' }}\n",
        answers.addr()
    );
    fs::write(&file, table).unwrap();
    let args = format!("--config {}", file.display());
    assert_fails(&args, NAME, "backend", &["status 200, not 404", "health"]).await;
}

#[tokio::test]
async fn check_says_where_each_setting_comes_from_and_shows_no_secret() {
    let ca = Ca::new("ca");
    let config = ca.write("site.toml", "heartbeat = '5s'\npeer_timeout = '40s'\n");
    let path = config.display().to_string();
    let args = format!(
        "check --peer-id site --connect hub.example:8443 --service {NAME}={CLOSED} --tls-ca {} \
         --config {path} --heartbeat 6s",
        ca.path("ca.pem").display()
    );
    let launch = launch()
        .args(&args)
        .env("OPS_PROXY_TOKEN", TOKEN)
        .env("OPS_PROXY_IDLE_DATA", "3")
        .env("HTTPS_PROXY", &format!("http://user:{PASSWORD}@proxy.example:3128"));
    let (code, printed, said) = launch.start().output().await;
    assert_eq!(code, Some(0), "{said}");
    let from = |key: &str| -> Vec<String> {
        let table = printed.split("SETTING").nth(1).expect("a table of settings");
        let rows = table.lines().map(str::split_whitespace);
        let mut rows = rows.filter(|words| words.clone().next() == Some(key));
        rows.next().unwrap_or_else(|| panic!("no {key}")).skip(1).map(str::to_owned).collect()
    };
    assert_eq!(from("heartbeat"), ["6s", "--heartbeat"]);
    assert_eq!(from("peer_timeout"), ["40s", path.as_str()]);
    assert_eq!(from("idle_data"), ["3", "OPS_PROXY_IDLE_DATA"]);
    assert_eq!(from("data_timeout"), ["5s", "default"]);
    assert_eq!(from("via"), ["http://proxy.example:3128", "HTTPS_PROXY"]);
    assert_eq!(from("token"), ["(not", "shown)", "OPS_PROXY_TOKEN"]);
    for secret in [PASSWORD, TOKEN] {
        assert!(!format!("{printed}{said}").contains(secret), "{printed}{said}");
    }
    // And, as before, what the peer would do.
    assert!(printed.contains("registers the services below, over TLS"), "{printed}");
}
