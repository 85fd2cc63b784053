//! CAs below CAs, and revocation lists that are not what they should be.

use std::fs;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::pki::{Ca, Files, Request};
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::wait::until;

use crate::{NAME, connecting, launch, listening};

async fn hub(ca: &Ca, more: &str) -> Peer {
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    listening(&format!("--peer-id hub {} {more}", ca.flags(&files))).await
}

/// A peer with these files that serves [`NAME`] behind `hub`, if it is let in.
async fn site(ca: &Ca, files: &Files, hub: &Peer, backend: &Backend) -> Peer {
    let service = format!("--peer-id site --service {NAME}={}", backend.addr());
    connecting(hub.listen(), &format!("{service} {}", ca.flags(files))).await
}

/// Waits until `peer` has logged this as a warning, in the message or as the error: what it has
/// counted already may not have been read yet.
async fn until_warned(peer: &Peer, words: &str) {
    let warned = async || {
        let warns = |event: &Event| {
            event.level() == "WARN"
                && (event.message().contains(words) || event.field("error").contains(words))
        };
        peer.events().iter().any(warns).then_some(())
    };
    until(&format!("the warning {words:?}"), warned).await;
}

async fn until_refused(hub: &Peer) {
    let refused = [("reason", "tls_handshake")];
    hub.until("the refusal", |metrics| metrics.value("ops_proxy_rejected_total", &refused) >= 1.0)
        .await;
}

#[tokio::test]
async fn a_peer_below_an_intermediate_ca_is_served_and_revoked_by_its_list() {
    let root = Ca::new("root");
    let below = root.intermediate("below");
    let lists = root.revocations(99, 2090) + &below.revocations(7, 2090);
    let lists = root.write("lists.pem", &lists);
    let backend = Backend::http().await;
    let hub = hub(&root, &format!("--tls-crl {}", lists.display())).await;
    let good = below.issue("site", Request::peer("site", &[NAME]).serial(8));
    {
        let _site = site(&below, &good, &hub, &backend).await;
        hub.serves(&[NAME]).await;
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    }
    let revoked = below.issue("site", Request::peer("site", &[NAME]).serial(7));
    let _revoked = site(&below, &revoked, &hub, &backend).await;
    until_refused(&hub).await;
    until_warned(&hub, "its certificate has been revoked").await;
}

#[tokio::test]
async fn without_the_intermediate_certificate_the_log_says_what_may_be_missing() {
    let root = Ca::new("root");
    let below = root.intermediate("below");
    let files = below.issue("site", Request::peer("site", &[NAME]));
    let pem = fs::read_to_string(&files.cert).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let own = pem.split_inclusive(end).next().unwrap();
    below.write("site.pem", own);
    let backend = Backend::http().await;
    let hub = hub(&root, "").await;
    let _site = site(&below, &files, &hub, &backend).await;
    until_refused(&hub).await;
    let words = "or an intermediate certificate is missing from its tls_cert";
    until_warned(&hub, words).await;
}

#[tokio::test]
async fn an_expired_revocation_list_still_revokes_and_is_warned_about() {
    let ca = Ca::new("ca");
    let list = ca.write("crl.pem", &ca.revocations(7, 2021));
    let backend = Backend::http().await;
    let hub = hub(&ca, &format!("--tls-crl {}", list.display())).await;
    let words = "the revocation list of CN=ca expired on Jan  1";
    until_warned(&hub, words).await;
    let good = ca.issue("site", Request::peer("site", &[NAME]).serial(8));
    {
        let _site = site(&ca, &good, &hub, &backend).await;
        hub.serves(&[NAME]).await;
    }
    let revoked = ca.issue("site", Request::peer("site", &[NAME]).serial(7));
    let _revoked = site(&ca, &revoked, &hub, &backend).await;
    until_refused(&hub).await;
    let metrics = hub.metrics().await;
    let expiry = "ops_proxy_tls_revocation_list_expiry_timestamp_seconds";
    // 2021-01-01T00:00:00Z.
    assert_eq!(metrics.value(expiry, &[]), 1_609_459_200.0);
}

#[tokio::test]
async fn a_revocation_list_of_another_ca_lets_nobody_in_and_says_why() {
    let (ca, other) = (Ca::new("ours"), Ca::new("theirs"));
    let list = other.revoke(7);
    let backend = Backend::http().await;
    let hub_files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let args = format!("{} --tls-crl {}", ca.flags(&hub_files), list.display());
    let line = format!("check --peer-id hub --listen 127.0.0.1:0 {args}");
    let (code, _, said) = launch().args(&line).start().output().await;
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "the revocation list of CN=theirs is from no CA in tls_ca or tls_cert",
        "contains no revocation list of CN=ours, a CA in tls_ca",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let hub = listening(&format!("--peer-id hub {args}")).await;
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    let _site = site(&ca, &files, &hub, &backend).await;
    until_refused(&hub).await;
    let words = "tls_crl contains no revocation list of the CA that issued its certificate";
    until_warned(&hub, words).await;
}
