//! The status page in a real browser: what it says after its script has run, while a mesh goes
//! through its states. Each page is loaded once and told by its peer of all that follows.

mod browser;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::Peer;

use crate::{NAME, connecting, every_way, launch, listening};
use browser::{Browser, Tab};

/// Loads the page of a peer, and waits until its script has heard from it.
async fn open(browser: &mut Browser, peer: &Peer) -> Tab {
    let tab = browser.open(&format!("http://{}/", peer.admin())).await;
    browser.says(&tab, "Live: this page keeps itself up to date.").await;
    tab
}

/// Whoever hears the page finds its way.
async fn is_for_readers(browser: &mut Browser, tab: &Tab) {
    for (what, holds) in [
        (
            "landmarks",
            "['header', 'nav', 'main', 'footer'].every(one => document.querySelectorAll(one).length === 1)",
        ),
        (
            "heads of tables",
            "[...document.querySelectorAll('th')].every(one => one.scope === 'col' || one.scope === 'row')",
        ),
        ("captions", "[...document.querySelectorAll('table')].every(one => one.caption)"),
        (
            "the state is announced",
            "document.querySelector('#state[role=status][aria-live=polite]') !== null",
        ),
        (
            "colour is never alone",
            "[...document.querySelectorAll('.up, .down')].every(one => /up|down|valid|expire/.test(one.textContent))",
        ),
        ("the language", "document.documentElement.lang === 'en'"),
    ] {
        assert_eq!(browser.evaluate(tab, holds).await, true, "{what}");
    }
}

/// It fits a phone: what is too wide scrolls by itself.
async fn fits_a_phone(browser: &mut Browser, tab: &Tab, name: &str) {
    browser.resize(tab, 390, 844, true).await;
    let fits = "document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.evaluate(tab, fits).await, true, "the page is wider than a phone");
    browser.screenshot(tab, name).await;
    browser.resize(tab, 1280, 900, false).await;
}

#[tokio::test]
async fn the_page_of_a_hub_follows_it_from_well_to_degraded_to_draining() {
    let Some(mut browser) = Browser::start().await else { return };
    let backend = Backend::http().await;
    let hub = listening("--peer-id hub-1 --drain-grace 60s").await;
    let service = format!("--service {NAME}={} --peer-id site-1", backend.addr());
    let site = connecting(hub.listen(), &service).await;
    hub.serves(&[NAME]).await;
    let tab = open(&mut browser, &hub).await;
    for said in ["Well", "every known name is served", "site-1", "1 of 1 names up"] {
        browser.says(&tab, said).await;
    }
    is_for_readers(&mut browser, &tab).await;
    browser.screenshot(&tab, "hub-well").await;
    browser.dark(&tab, true).await;
    browser.screenshot(&tab, "hub-well-dark").await;
    browser.dark(&tab, false).await;
    fits_a_phone(&mut browser, &tab, "hub-well-phone").await;
    // What follows was not there when the page was loaded.
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    let requests = format!(
        "[...document.querySelectorAll('#names-0 tr')].some(row => row.cells[0].textContent === '{NAME}' && row.cells[5].textContent === '1')"
    );
    browser.holds(&tab, &requests).await;
    drop(site);
    for said in ["Degraded", &format!("{NAME} is down")] {
        browser.says(&tab, said).await;
    }
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 503);
    browser.says(&tab, "no peer serves this name now").await;
    browser.holds(&tab, "document.title.startsWith('Degraded')").await;
    is_for_readers(&mut browser, &tab).await;
    browser.screenshot(&tab, "hub-degraded").await;
    fits_a_phone(&mut browser, &tab, "hub-degraded-phone").await;
    hub.terminate();
    browser.says(&tab, "this peer takes its leave").await;
    browser.screenshot(&tab, "hub-draining").await;
    drop(hub);
    browser.says(&tab, "the peer does not answer").await;
}

#[tokio::test]
async fn the_page_of_a_site_follows_it_from_well_to_degraded_to_draining() {
    let Some(mut browser) = Browser::start().await else { return };
    let backend = Backend::echo().await;
    let hub = listening("--peer-id hub-1").await;
    let service = format!("{} --peer-id site-1 --drain-grace 60s", every_way(NAME, backend.addr()));
    let site = connecting(hub.listen(), &service).await;
    hub.serves(&[NAME]).await;
    let tab = open(&mut browser, &site).await;
    let upstream = hub.listen().to_string();
    for said in ["Well", NAME, &upstream, "connecting", "hub-1"] {
        browser.says(&tab, said).await;
    }
    is_for_readers(&mut browser, &tab).await;
    browser.screenshot(&tab, "site-well").await;
    drop(hub);
    for said in ["Degraded", &format!("no link to {upstream}")] {
        browser.says(&tab, said).await;
    }
    browser.screenshot(&tab, "site-degraded").await;
    let hub = launch().args(&format!("run --listen {upstream} --peer-id hub-1")).peer().await;
    hub.serves(&[NAME]).await;
    // It drains for as long as something runs.
    let _stream = client::stream_to(hub.listen(), NAME).await;
    site.terminate();
    browser.says(&tab, "this peer takes its leave").await;
    browser.screenshot(&tab, "site-draining").await;
}
