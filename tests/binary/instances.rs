//! Processes under one peer id: instances that serve together, those that fight, and what
//! each end says of the end of a link.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Event, Peer};
use ops_proxy_tests::wait::until;

use crate::{NAME, connecting, launch, listening};

/// A service that nobody asks for.
const SERVICE: &str = "--service app.example=127.0.0.1:1";

/// Waits until `peer` logs `message` with `words` in `field`, or in the message itself.
async fn says(peer: &Peer, message: &str, field: &str, words: &str) {
    let said = |event: &Event| {
        event.message().starts_with(message)
            && (event.message().to_owned() + event.field(field)).contains(words)
    };
    until(&format!("the log to say {words:?}"), async || {
        peer.events().iter().any(said).then_some(())
    })
    .await;
}

const DOWN: &str = "link down";

#[tokio::test]
async fn a_process_that_is_replaced_is_told_by_what_and_counts_it() {
    let hub = listening("").await;
    let args = format!("--peer-id site {SERVICE}");
    let first = connecting(hub.listen(), &args).await;
    hub.serves(&[NAME]).await;
    let _second = connecting(hub.listen(), &args).await;
    says(&first, DOWN, "", "another process connected under the peer id").await;
    says(&first, DOWN, "", "give each its own --instance or --peer-id").await;
    let upstream = hub.listen().to_string();
    let replaced = [("upstream", &*upstream)];
    first
        .until("the count", |metrics| {
            metrics.value("ops_proxy_client_replaced_total", &replaced) >= 1.0
        })
        .await;
    says(&hub, DOWN, "reason", "replaced by a newer link with the same peer id").await;
}

#[tokio::test]
async fn instances_of_one_id_do_not_replace_each_other() {
    let hub = listening("").await;
    let mut sites = Vec::new();
    for instance in ["a", "b"] {
        let args = format!("--peer-id site --instance {instance} {SERVICE}");
        sites.push(connecting(hub.listen(), &args).await);
    }
    hub.until("two links of one peer", |metrics| {
        metrics.value("ops_proxy_links", &[]) == 2.0
            && metrics.value("ops_proxy_peer_links", &[("peer", "site")]) == 2.0
    })
    .await;
    let page = shown_by(&hub, &["site/a", "site/b"]).await;
    assert!(page.contains("2 in, 0 out"), "{page}");
    for site in &sites {
        let metrics = site.metrics().await;
        assert_eq!(metrics.value("ops_proxy_client_replaced_total", &[]), 0.0);
    }
}

/// Waits until the status page says all of `words`.
async fn shown_by(hub: &Peer, words: &[&str]) -> String {
    until(&format!("the status page to say {words:?}"), async || {
        let page = hub.page("/").await.text();
        words.iter().all(|word| page.contains(word)).then_some(page)
    })
    .await
}

#[tokio::test]
async fn both_ends_say_that_the_other_is_shutting_down() {
    for second_signal in [false, true] {
        let grace = if second_signal { "1h" } else { "10ms" };
        let args = format!("--drain-grace {grace}");
        let mut hub = listening(&args).await;
        let site = connecting(hub.listen(), SERVICE).await;
        let mut going = connecting(hub.listen(), &format!("{args} {SERVICE}")).await;
        hub.until("two links", |metrics| metrics.value("ops_proxy_links", &[]) == 2.0).await;
        end(&mut going, second_signal).await;
        says(&hub, DOWN, "reason", "the peer is shutting down").await;
        end(&mut hub, second_signal).await;
        says(&site, DOWN, "reason", "the listening peer is shutting down").await;
    }
}

async fn end(peer: &mut Peer, second_signal: bool) {
    peer.terminate();
    if second_signal {
        let draining = async || (peer.page("/readyz").await.status == 503).then_some(());
        until("/readyz to be 503", draining).await;
        peer.terminate();
    }
    peer.exit_code().await;
}

/// A listening peer that takes TLS only and goes by the revocations of `ca`.
async fn strict_hub(ca: &Ca) -> Peer {
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let list = ca.revoke(99);
    listening(&format!("--peer-id hub {} --tls-crl {}", ca.flags(&files), list.display())).await
}

#[tokio::test]
async fn a_revoked_certificate_is_said_in_plain_words() {
    let ca = Ca::new("ca");
    let mut hub = strict_hub(&ca).await;
    let files = ca.issue("site", Request::peer("site", &[NAME]).serial(7));
    let args = format!("--peer-id site {} {SERVICE}", ca.flags(&files));
    let site = connecting(hub.listen(), &args).await;
    hub.serves(&[NAME]).await;
    ca.revoke(7);
    hub.process().hang_up();
    // The link that was open, and those that are tried after it.
    says(&site, DOWN, "reason", "its certificate or token is not, or no longer, accepted").await;
    let refused = "refuses the certificate of this peer: it has been revoked; have another one";
    says(&site, DOWN, "reason", refused).await;
    // Whoever begins with it hears the same.
    let late = connecting(hub.listen(), &args).await;
    says(&late, DOWN, "reason", refused).await;
    for peer in [site, late] {
        assert!(!peer.log().contains("fatal alert"), "{}", peer.log());
        assert!(!peer.log().contains("CertificateRevoked"), "{}", peer.log());
    }
}

#[tokio::test]
async fn two_instances_prove_themselves_with_one_certificate() {
    let ca = Ca::new("ca");
    let hub = strict_hub(&ca).await;
    let backend = Backend::http().await;
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    let mut sites = Vec::new();
    for instance in ["a", "b"] {
        let service = format!("--service {NAME}={}", backend.addr());
        let id = format!("--peer-id site --instance {instance}");
        let args = format!("{id} {} {service}", ca.flags(&files));
        sites.push(connecting(hub.listen(), &args).await);
    }
    shown_by(&hub, &["site/a", "site/b"]).await;
    for _ in 0..8 {
        assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    }
    let metrics = hub.quiet().await;
    assert_eq!(metrics.value("ops_proxy_links", &[]), 2.0);
    assert_eq!(metrics.value("ops_proxy_peer_id_conflicts_total", &[]), 0.0);
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[]), 0.0);

    // The certificate is for this id and its instances, and for no other.
    let args = format!("run --connect {} --peer-id other --instance a", hub.listen());
    let args = format!("{args} {} {SERVICE} --admin none", ca.flags(&files));
    let (code, _, stderr) = launch().args(&args).start().output().await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("peer_id: "), "{stderr}");
    drop(sites.remove(0));
    shown_by(&hub, &["<td class=\"words\">site/b</td>"]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_meant_is_exit_2_with_the_remedy() {
    let to = "--connect 127.0.0.1:1";
    for (args, words) in [
        ("--connect a:1*0".to_owned(), &["--connect", "HOST:PORT*N", "from 1 to 16"][..]),
        ("--connect a:1*17".to_owned(), &["--connect", "from 1 to 16"]),
        (
            format!("{to} --connect 127.0.0.1:1"),
            &["connect: 127.0.0.1:1 is listed twice", "write 127.0.0.1:1*2"],
        ),
        (format!("{to} --connect 127.0.0.1:1*2"), &["connect: 127.0.0.1:1 is listed twice"]),
        (format!("{to} --instance a"), &["instance: set peer_id, too"]),
        (
            format!("{to} --peer-id site --instance a/b"),
            &["instance: \"a/b\" cannot be the instance of site", "use letters, digits"],
        ),
        (
            format!("{to} --peer-id site/a --instance b"),
            &["instance: peer_id site/a names an instance already; leave out one"],
        ),
    ] {
        for command in ["check", "run --admin none"] {
            let line = format!("{command} {args} {SERVICE}");
            let (code, _, stderr) = launch().args(&line).start().output().await;
            assert_eq!(code, Some(2), "{line}: {stderr}");
            for word in words {
                assert!(stderr.contains(word), "{line}: {word:?} is not in {stderr:?}");
            }
        }
    }
}
