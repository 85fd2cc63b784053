//! Peers that prove who they are by a token, inside TLS.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::{NAME, idle_data, launch, listening};

const SHARED: &str = "shared-0123456789abcdef0123456789abcdef";
const OWN: &str = "own-0123456789abcdef0123456789abcdef";
const WRONG: &str = "wrong-0123456789abcdef0123456789abcdef";

/// A listening peer that takes [`SHARED`] for `*.dev.example` from anybody, and
/// [`OWN`] for all names from `site-1`.
async fn hub(ca: &Ca) -> Peer {
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let rules = format!(
        "[[token]]\nsecret = '{SHARED}'\nnames = ['*.dev.example']\n\
         [[token]]\nsecret = '{OWN}'\npeer = 'site-1'\n"
    );
    let rules = ca.write("tokens.toml", &rules);
    let (cert, key) = (files.cert.display(), files.key.display());
    let tokens = rules.display();
    let flags = format!("--tls-cert {cert} --tls-key {key} --accept-tokens {tokens}");
    listening(&format!("{flags} --log-level trace")).await
}

/// A peer that shows `token` and serves `name`.
async fn site(ca: &Ca, hub: &Peer, token: &str, id: &str, service: &str) -> Peer {
    let ca_file = ca.path("ca.pem");
    let flags = format!("--peer-id {id} --tls-ca {} --service {service}", ca_file.display());
    let run = format!("run --connect {} --log-level trace {flags}", hub.listen());
    launch().args(&run).env("OPS_PROXY_TOKEN", token).peer().await
}

/// What the listening peer refused `site` with.
async fn refusal(site: &Peer) -> String {
    until("a refusal", async || {
        let down = |event: &&_| ops_proxy_tests::process::Event::message(event) == "link down";
        site.events().iter().find(down).map(|event| event.field("reason").to_owned())
    })
    .await
}

/// What a secret looks like where bytes are shown as numbers. The first bytes of
/// a key are those of every key.
fn disguised(secret: &[u8]) -> Vec<String> {
    let (_, parts) = secret.split_at(secret.len() % 12);
    let parts = parts.chunks_exact(12).skip(secret.len() / 36);
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = |part: &[u8]| format!("{part:?}").trim_matches(['[', ']']).to_owned();
    parts.flat_map(|part| [hex(part), decimal(part)]).collect()
}

async fn rejected(hub: &Peer, reason: &str) -> f64 {
    hub.metrics().await.value("ops_proxy_rejected_total", &[("reason", reason)])
}

#[tokio::test]
async fn a_peer_with_its_token_serves_and_no_secret_shows() {
    let ca = Ca::new("ca");
    let mut hub = hub(&ca).await;
    let backend = Backend::http().await;
    let site = site(&ca, &hub, OWN, "site-1", &format!("{NAME}={}", backend.addr())).await;
    hub.serves(&[NAME]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);

    // Errors about secrets are in the log, too.
    let wrong = self::site(&ca, &hub, WRONG, "site-2", "a.dev.example=127.0.0.1:1").await;
    refusal(&wrong).await;
    ca.write("tokens.toml", &format!("[[token]]\nsecret = '{OWN}'\nsecrets = '{SHARED}'\n"));
    hub.process().hang_up();
    let failed = |metrics: &Metrics| metrics.value("ops_proxy_tls_reload_failed_total", &[]) == 1.0;
    hub.until("the failed reload", failed).await;

    let pem = std::fs::read_to_string(ca.path("hub-key.pem")).unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let tokens = [OWN, SHARED, WRONG];
    let mut secrets: Vec<String> = lines.chain(tokens).map(str::to_owned).collect();
    let key = der.secret_der();
    secrets.extend(tokens.map(str::as_bytes).into_iter().chain([key]).flat_map(disguised));
    let mut shown = String::new();
    for mut peer in [hub, site, wrong] {
        for page in ["/metrics", "/"] {
            shown.push_str(&peer.page(page).await.text());
        }
        peer.terminate();
        peer.terminate();
        peer.process().ended().await;
        shown.push_str(&peer.process().stdout());
        shown.push_str(&peer.log());
    }
    assert!(shown.contains("DEBUG"), "all is logged");
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret} is in {shown}");
    }
}

#[tokio::test]
async fn a_wrong_token_or_another_peers_is_refused_with_one_text() {
    let ca = Ca::new("ca");
    let hub = hub(&ca).await;
    let service = "a.dev.example=127.0.0.1:1";
    let wrong = site(&ca, &hub, WRONG, "site-2", service).await;
    let expected = refusal(&wrong).await;
    assert!(expected.contains("does not authorise this peer"), "{expected}");
    drop(wrong);
    // The token of another peer, and a shared one for a peer that has its own.
    for (token, id) in [(OWN, "site-2"), (SHARED, "site-1")] {
        let refused = site(&ca, &hub, token, id, service).await;
        assert_eq!(refusal(&refused).await, expected, "{id}");
    }
    assert!(rejected(&hub, "auth_failed").await >= 3.0);
    assert_eq!(hub.metrics().await.value("ops_proxy_clients_total", &[]), 0.0);
}

#[tokio::test]
async fn a_token_that_is_limited_to_names_registers_no_others() {
    let ca = Ca::new("ca");
    let hub = hub(&ca).await;
    let good = site(&ca, &hub, SHARED, "site-2", "a.dev.example=127.0.0.1:1").await;
    hub.serves(&["a.dev.example"]).await;
    drop(good);
    let bad = site(&ca, &hub, SHARED, "site-3", &format!("{NAME}=127.0.0.1:1")).await;
    let refused = refusal(&bad).await;
    assert!(refused.contains("name_forbidden"), "{refused}");
    assert!(rejected(&hub, "name_forbidden").await >= 1.0);
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 404, "never known");
}

#[tokio::test]
async fn a_token_that_is_taken_off_the_list_loses_its_link_and_its_idle_connections() {
    let ca = Ca::new("ca");
    let mut hub = hub(&ca).await;
    let backend = Backend::http().await;
    let _site = site(&ca, &hub, OWN, "site-1", &format!("own.example={}", backend.addr())).await;
    hub.serves(&["own.example"]).await;
    hub.until("idle connections", |metrics| idle_data(metrics) == 2.0).await;
    assert_eq!(client::get(hub.listen(), "/", "own.example").await.status, 200);
    hub.until("idle connections again", |metrics| idle_data(metrics) >= 2.0).await;

    ca.write("tokens.toml", &format!("[[token]]\nsecret = '{SHARED}'\n"));
    hub.process().hang_up();
    hub.until("no idle connection", |metrics| idle_data(metrics) == 0.0).await;
    hub.until("no link", |metrics| metrics.value("ops_proxy_links", &[]) == 0.0).await;
    assert_eq!(client::get(hub.listen(), "/", "own.example").await.status, 503);
}
