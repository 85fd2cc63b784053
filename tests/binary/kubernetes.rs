//! Names from Kubernetes: its annotated Services are registered as they come and go.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::dns::Dns;
use ops_proxy_tests::kubernetes::{Api, Cut, Gone, Service};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Event, Launch, Peer};
use ops_proxy_tests::wait::{skipped, until, within};
use tokio::time::timeout;

use crate::{BINARY, NAME, launch, listening};

const SERVED: &str = "ops_proxy_kubernetes_services";
const REFUSED: &str = "ops_proxy_kubernetes_services_refused_total";
const WATCH_UP: &str = "ops_proxy_kubernetes_watch_up";
const REFUSAL: &str = "a Service of Kubernetes is refused; it is looked at again when it changes";

/// A name that a test never takes away.
const STAYS: &str = "stays.example";

/// How many Services come and go at once.
const MANY: usize = 500;

/// Names must follow within two seconds; a busy machine gets some more.
const FOLLOWS: Duration = Duration::from_secs(10);

fn watching(launch: Launch, api: &Api, hub: SocketAddr, args: &str) -> Launch {
    let kubeconfig = api.kubeconfig();
    let launch = launch.env("KUBECONFIG", kubeconfig.to_str().unwrap());
    launch.args(&format!("run --connect {hub} --kubernetes shop {args}"))
}

/// A peer that follows the namespace `shop` of `api`.
async fn site(api: &Api, hub: &Peer, args: &str) -> Peer {
    watching(launch(), api, hub.listen(), args).peer().await
}

fn up(metrics: &Metrics, name: &str) -> bool {
    metrics.value("ops_proxy_client_up", &[("client_name", name)]) == 1.0
}

fn refused(metrics: &Metrics, reason: &str) -> f64 {
    metrics.value(REFUSED, &[("reason", reason)])
}

fn watch_up(metrics: &Metrics) -> f64 {
    metrics.value(WATCH_UP, &[("namespace", "shop")])
}

/// Waits until the hub has so many names, and of these the given ones or not; says how long
/// that took.
async fn follows(hub: &Peer, what: &str, count: usize, there: &[&str], gone: &[&str]) {
    let began = Instant::now();
    let seen = hub.until(what, |metrics| {
        metrics.value("ops_proxy_clients_connected", &[]) == count as f64
            && there.iter().all(|name| up(metrics, name))
            && !gone.iter().any(|name| up(metrics, name))
    });
    let metrics = timeout(FOLLOWS, seen).await;
    println!("{what}: registered names followed within {:?}", began.elapsed());
    let metrics = metrics.unwrap_or_else(|_| panic!("waited {FOLLOWS:?} for {what}"));
    never_withdrawn(&metrics);
}

fn never_withdrawn(metrics: &Metrics) {
    let of_name = [("client_name", STAYS)];
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &of_name), 0.0);
}

fn many(name: impl Fn(usize) -> String) -> impl Iterator<Item = Service> {
    (0..MANY).map(move |n| Service::named("shop", &format!("s{n}"), &name(n)))
}

#[tokio::test]
async fn five_hundred_services_appear_change_and_vanish() {
    let (hub, api) = (listening("").await, Api::start().await);
    api.put(Service::named("shop", "stays", STAYS));
    let site = site(&api, &hub, &format!("--service {NAME}=127.0.0.1:1")).await;
    hub.serves(&[NAME, STAYS]).await;
    api.put_all(many(|n| format!("before-{n}.example")));
    let last = ["before-0.example", "before-499.example", STAYS, NAME];
    follows(&hub, "500 Services to appear", MANY + 2, &last, &[]).await;
    site.until("the number of Services", |metrics| metrics.value(SERVED, &[]) == 501.0).await;

    api.put_all(many(|n| format!("after-{n}.example")));
    let last = ["after-0.example", "after-499.example", STAYS, NAME];
    let gone = ["before-0.example", "before-499.example"];
    follows(&hub, "500 Services to change", MANY + 2, &last, &gone).await;

    let names: Vec<String> = (0..MANY).map(|n| format!("s{n}")).collect();
    api.delete_all("shop", names.iter().map(String::as_str));
    follows(&hub, "500 Services to vanish", 2, &[STAYS, NAME], &last[..2]).await;
    let metrics = site.metrics().await;
    assert_eq!((metrics.value(SERVED, &[]), watch_up(&metrics)), (1.0, 1.0));
    assert_eq!(api.asked().lists, 1, "the rest came by the watch");
}

#[tokio::test]
async fn services_that_are_there_at_the_start_are_registered_at_once_page_by_page() {
    let (hub, api) = (listening("").await, Api::start().await);
    api.put_all(many(|n| format!("n{n}.example")));
    api.put(Service::named("shop", "z-stays", STAYS));
    api.put(Service::named("elsewhere", "other", "other.example"));
    api.put(Service::bare("shop", "plain"));
    let _site = site(&api, &hub, "").await;
    follows(
        &hub,
        "501 Services at the start",
        MANY + 1,
        &[STAYS, "n499.example"],
        &["other.example"],
    )
    .await;
    assert_eq!(api.asked().lists, 1);
    assert!(api.asked().pages > 0, "so many fit no page");
}

#[tokio::test]
async fn a_watch_goes_on_after_cuts_and_after_410_gone() {
    let (hub, api) = (listening("").await, Api::start().await);
    api.put(Service::named("shop", "stays", STAYS));
    let site = site(&api, &hub, "").await;
    hub.serves(&[STAYS]).await;
    for (round, cut) in [Cut::Midway, Cut::Cleanly, Cut::Midway].into_iter().enumerate() {
        let name = format!("cut-{round}.example");
        let before = api.asked();
        let new = Service::named("shop", "new", &name);
        api.cut(cut, |meanwhile| meanwhile.put(new));
        follows(&hub, &format!("what came during a cut ({cut:?})"), 2, &[STAYS, &name], &[]).await;
        assert_eq!(api.asked().lists, before.lists, "it goes on from where it was");
        api.cut(cut, |meanwhile| meanwhile.delete("shop", "new"));
        follows(&hub, &format!("what went during a cut ({cut:?})"), 1, &[STAYS], &[&name]).await;
    }
    for gone in [Gone::Status, Gone::Event] {
        let before = api.asked();
        api.put(Service::named("shop", "old", "old.example"));
        follows(&hub, "another name", 2, &[STAYS, "old.example"], &[]).await;
        api.cut(Cut::Midway, |meanwhile| {
            meanwhile.delete("shop", "old");
            meanwhile.put(Service::named("shop", "new", "new.example"));
            meanwhile.forget(gone);
        });
        let what = format!("what was forgotten (410 by {gone:?})");
        follows(&hub, &what, 2, &[STAYS, "new.example"], &["old.example"]).await;
        let after = api.asked();
        assert!(after.gone > before.gone && after.lists > before.lists, "{before:?} {after:?}");
        api.delete("shop", "new");
        follows(&hub, "a change after 410", 1, &[STAYS], &["new.example"]).await;
    }
    assert_eq!(watch_up(&site.metrics().await), 1.0);
}

#[tokio::test]
async fn an_api_that_fails_changes_nothing_and_is_complained_about_once() {
    let (hub, api) = (listening("").await, Api::start().await);
    api.put(Service::named("shop", "stays", STAYS));
    let site = site(&api, &hub, "").await;
    hub.serves(&[STAYS]).await;
    let is_warning = |event: &&Event| event.level() == "WARN";
    let warnings = || site.events().iter().filter(is_warning).count();
    assert_eq!(warnings(), 0);

    api.fail(Some(503));
    site.until("the watch to be down", |metrics| watch_up(metrics) == 0.0).await;
    api.fail(Some(403));
    until("the log to say what to do", async || {
        site.log().contains("bind a Role that lets this peer get, list and watch").then_some(())
    })
    .await;
    let said = warnings();
    let asked = api.asked();
    until("further failures", async || (api.asked().failed > asked.failed + 1).then_some(())).await;
    hub.serves(&[STAYS]).await;
    api.fail(None);
    api.put(Service::named("shop", "new", "new.example"));
    within("the new name", hub.serves(&[STAYS, "new.example"])).await;
    site.until("the watch to be up", |metrics| watch_up(metrics) == 1.0).await;
    until("the log to say that it is over", async || {
        site.log().contains("the Kubernetes API answers again").then_some(())
    })
    .await;
    assert!(said <= 2 && warnings() == said, "each failure once: {}", site.log());
    assert_eq!(api.asked().lists, asked.lists, "what was known was enough");
    never_withdrawn(&hub.metrics().await);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_logged_and_counted_once() {
    let (hub, api) = (listening("").await, Api::start().await);
    let own = format!("--service {NAME}=127.0.0.1:1");
    api.put(Service::named("shop", "stays", STAYS));
    api.put(
        Service::named("shop", "foreign", "foreign.example").annotated("backend", "10.0.0.1:1"),
    );
    api.put(Service::named("shop", "late", "stays.example,late.example").created("09:00:00"));
    api.put(Service::named("shop", "both", NAME));
    let site = site(&api, &hub, &own).await;
    hub.serves(&[NAME, STAYS, "late.example"]).await;

    let refusals = |site: &Peer| -> Vec<(String, String, String)> {
        let events = site.events();
        let refusals = events.iter().filter(|event| event.message() == REFUSAL);
        let field = |event: &Event, name| event.field(name).to_owned();
        let of = |event| (field(event, "service"), field(event, "reason"), field(event, "problem"));
        refusals.map(of).collect()
    };
    let mut said = until("three refusals in the log", async || {
        Some(refusals(&site)).filter(|said| said.len() == 3)
    })
    .await;
    said.sort();
    let words: Vec<_> = said.iter().map(|(name, reason, _)| format!("{name} {reason}")).collect();
    assert_eq!(
        words,
        ["shop/both name_taken", "shop/foreign unknown_annotation", "shop/late name_taken"]
    );
    let [both, foreign, late] = [0, 1, 2].map(|n| said[n].2.as_str());
    assert!(both.contains(NAME) && both.contains("own settings"), "{both}");
    assert!(foreign.contains("ops-proxy.dev/backend"), "{foreign}");
    assert!(late.contains("belongs to shop/stays"), "{late}");
    let metrics = site.metrics().await;
    assert_eq!(refused(&metrics, "unknown_annotation"), 1.0);
    assert_eq!(refused(&metrics, "name_taken"), 2.0);
    assert_eq!(metrics.value(SERVED, &[]), 2.0);

    // What is mended is served, and what is refused as before is not told again.
    api.put(Service::named("shop", "foreign", "foreign.example"));
    follows(&hub, "the mended Service", 4, &[STAYS, "foreign.example"], &[]).await;
    let metrics = site.metrics().await;
    assert_eq!(refused(&metrics, "unknown_annotation"), 1.0);
    assert_eq!(refused(&metrics, "name_taken"), 2.0);
    assert_eq!(refusals(&site).len(), 3);
    // The name goes to the next one when the oldest gives it up.
    api.put(Service::named("shop", "stays", "stays.example").annotated("port", "81"));
    site.until("the bad port", |metrics| refused(metrics, "bad_port") == 1.0).await;
    follows(&hub, "the name at the next one", 4, &[STAYS, "late.example"], &[]).await;
}

#[tokio::test]
async fn names_are_bounded_by_the_certificate_and_follow_it_when_it_is_renewed() {
    let (ca, api) = (Ca::new("ca"), Api::start().await);
    let hub = listening(&ca.flags(&ca.issue("hub", Request::peer("hub", &["127.0.0.1"])))).await;
    let issue = |names: &[&str]| ca.issue("site", Request::peer("site", names));
    let files = issue(&[STAYS]);
    api.put(Service::named("shop", "stays", STAYS));
    api.put(Service::named("shop", "more", "more.example"));
    let mut site = site(&api, &hub, &format!("--peer-id site {}", ca.flags(&files))).await;
    hub.serves(&[STAYS]).await;
    let metrics = site.metrics().await;
    assert_eq!((refused(&metrics, "not_permitted"), metrics.value(SERVED, &[])), (1.0, 1.0));
    let refusal = site.logged(REFUSAL, |event| event.message() == REFUSAL).await;
    let problem = refusal.field("problem");
    assert!(problem.contains("does not permit more.example: issue one that does"), "{problem}");

    // The link was opened with the old certificate, so it takes another one.
    issue(&[STAYS, "more.example"]);
    site.process().hang_up();
    let metrics = hub.serves(&[STAYS, "more.example"]);
    within("the name of the new certificate", metrics).await;
    let refused_there = hub.metrics().await;
    assert_eq!(
        refused_there.value("ops_proxy_rejected_total", &[("reason", "name_forbidden")]),
        0.0
    );
}

#[tokio::test]
async fn settings_that_change_keep_the_services_of_kubernetes() {
    let (hub, api) = (listening("").await, Api::start().await);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("peer.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("service = ['a.example=127.0.0.1:1']");
    api.put(Service::named("shop", "stays", STAYS));
    let mut site = site(&api, &hub, &format!("--config {}", file.display())).await;
    hub.serves(&[STAYS, "a.example"]).await;
    write("service = ['b.example=127.0.0.1:1']\nkubernetes = ['other']");
    site.process().hang_up();
    follows(&hub, "the changed settings", 2, &[STAYS, "b.example"], &["a.example"]).await;
    // A file with a fault stops nothing.
    write("service = 1");
    site.process().hang_up();
    site.until("the failed reload", |metrics| {
        metrics.value("ops_proxy_config_reload_failed_total", &[]) == 1.0
    })
    .await;
    api.put(Service::named("shop", "new", "new.example"));
    follows(&hub, "a Service beside a bad file", 3, &[STAYS, "b.example", "new.example"], &[])
        .await;
}

#[tokio::test]
async fn the_api_is_asked_over_tls_with_a_token_that_is_read_anew() {
    let ca = Ca::new("cluster");
    let files = ca.issue("api", Request::nobody(&["127.0.0.1"]));
    let api = Api::start_secured(&ca, &files, "the-token-of-a-pod").await;
    let hub = listening("").await;
    api.put(Service::named("shop", "stays", STAYS));
    api.show_token("expired");
    let site = site(&api, &hub, "").await;
    until("the log to say what to do", async || {
        site.log().contains("not accepted (401): give this peer another one").then_some(())
    })
    .await;
    assert_eq!(watch_up(&site.metrics().await), 0.0);
    api.show_token("the-token-of-a-pod\n");
    within("the names", hub.serves(&[STAYS])).await;
    assert!(!site.log().contains("the-token-of-a-pod"));
}

#[tokio::test]
async fn a_request_reaches_the_service_by_its_name_in_the_cluster() {
    let Some(dns) = Dns::answering() else {
        return skipped("a server of DNS and a mount namespace take root");
    };
    let (hub, api, backend) = (listening("").await, Api::start().await, Backend::http().await);
    dns.set("web.shop.svc", &[Ipv4Addr::LOCALHOST]);
    let web = Service::named("shop", "web", NAME).annotated("allow", "127.0.0.0/8");
    api.put(web.port(backend.addr().port()));
    let _site = watching(dns.launch(BINARY), &api, hub.listen(), "").peer().await;
    hub.serves(&[NAME]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
}

#[tokio::test]
async fn without_a_way_to_the_api_the_peer_does_not_start_and_says_what_to_do() {
    let run = "run --listen 127.0.0.1:0 --admin none --kubernetes shop";
    let (code, _, said) = launch().args(run).start().output().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("kubernetes: ") && said.contains("KUBECONFIG is not set"), "{said}");
    let (code, _, said) = launch().args("run --kubernetes Shop").start().output().await;
    assert_eq!(code, Some(2));
    assert!(said.contains("expected the name of a namespace"), "{said}");
}

#[tokio::test]
async fn a_peer_that_watches_nothing_says_nothing_of_kubernetes() {
    let metrics = listening("").await.metrics().await;
    assert!(!metrics.families().keys().any(|family| family.contains("kubernetes")));
}
