//! The admin pages.

use std::io::ErrorKind;
use std::time::Duration;

use ops_proxy::limits::{ADMIN_CONNECTIONS, ADMIN_SCRAPES, ADMIN_SCRAPES_WAITING};
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::{NODE, POD, Peer};
use ops_proxy_tests::wait::until;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{NAME, connecting, launch, listening};

/// A link that has registered so many names under `domain`, in order.
async fn names(public: &Peer, count: usize, domain: &str) -> (Link, Vec<String>) {
    let names: Vec<String> = (0..count).map(|index| format!("n{index:05}.{domain}")).collect();
    let mut link = Link::on(connect(public.listen()).await);
    link.send("HELLO:1:many").await;
    link.welcomed().await;
    for line in names.chunks(60) {
        link.send(&format!("REGISTER:{}", line.join(","))).await;
        assert_eq!(link.line().await, format!("OK:{}", line.len()));
    }
    (link, names)
}

#[tokio::test]
async fn a_listening_peer_is_healthy_and_ready() {
    let public = listening("").await;
    assert_eq!(public.page("/healthz").await.status, 200);
    assert_eq!(public.page("/readyz").await.status, 200);
    assert_eq!(public.page("/nothing").await.status, 404);
    let post =
        b"POST /metrics HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(client::exchange(public.admin(), post).await.status, 405);
}

#[tokio::test]
async fn a_connecting_peer_is_ready_once_its_names_are_registered() {
    let (_socket, nobody) = backend::refusing();
    let service = format!("--service {NAME}=127.0.0.1:1");
    let lonely = connecting(nobody, &service).await;
    assert_eq!(lonely.page("/healthz").await.status, 200);
    assert_eq!(lonely.page("/readyz").await.status, 503);

    let public = listening("").await;
    let behind = connecting(public.listen(), &service).await;
    until("the connecting peer to be ready", async || {
        (behind.page("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_carry_the_node_and_the_pod_of_their_peer() {
    let public = listening("").await;
    let answer = public.page("/metrics").await;
    assert_eq!(answer.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let metrics = public.metrics().await;
    let labels = [("node", NODE), ("pod", POD)];
    assert_eq!(metrics.value("ops_proxy_server_info", &labels), 1.0);
    for (name, family) in metrics.families() {
        // What the kernel says of the process has no labels, wherever it runs.
        let is_of_process = name.starts_with("process_");
        for (_, labels) in family.samples.keys().filter(|_| !is_of_process) {
            assert_eq!(labels.get("node").map(String::as_str), Some(NODE), "{name}");
            assert_eq!(labels.get("pod").map(String::as_str), Some(POD), "{name}");
        }
    }
}

/// A scrape in the format of OpenMetrics, and the same as it would be in text.
async fn open_metrics(peer: &Peer) -> (String, Metrics) {
    let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\nConnection: close\r\n\r\n";
    let answer = client::exchange(peer.admin(), request.as_bytes()).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.field("content-type"), kind);
    let text = answer.text();
    let families = text.strip_suffix("# EOF\n").expect("it says that it ends");
    let mut plain = String::new();
    for family in families.split("# HELP ").skip(1) {
        let (head, samples) = family.split_once(" counter\n").unwrap_or((family, ""));
        let name = head.split(' ').next().unwrap();
        let head = match samples {
            "" => head.to_owned(),
            _ => head.replace(name, &format!("{name}_total")) + " counter\n",
        };
        let lines = format!("# HELP {head}{samples}");
        for line in lines.lines() {
            plain += &match line.contains("_bucket{") {
                // Without an exemplar, and with a bound as text has it.
                true => line.split(" # {").next().unwrap().replace(".0\"} ", "\"} "),
                false => line.to_owned(),
            };
            plain.push('\n');
        }
    }
    (text, Metrics::parse(&plain).expect("what is left is text"))
}

#[tokio::test]
async fn open_metrics_says_the_same_and_leads_to_requests() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    let metrics = public.quiet().await;
    let (text, open) = open_metrics(&public).await;
    let of_peer = |metrics: &Metrics| {
        let families = metrics.families().clone().into_iter();
        families.filter(|(name, _)| name.starts_with("ops_proxy_")).collect::<Vec<_>>()
    };
    assert_eq!(of_peer(&open), of_peer(&metrics));
    let buckets = text.lines().filter(|line| line.contains("_bucket{"));
    let exemplars: Vec<(&str, &str)> = buckets.filter_map(|line| line.split_once(" # {")).collect();
    let of = |family: &str| {
        let found = exemplars.iter().find(|(sample, _)| sample.starts_with(family));
        let (_, exemplar) = found.unwrap_or_else(|| panic!("{family} has no exemplar: {text}"));
        exemplar.strip_prefix("proxy_id=\"").unwrap().split('"').next().unwrap().to_owned()
    };
    let id = of("ops_proxy_http_request_duration_seconds");
    assert_eq!(of("ops_proxy_request_duration_seconds"), id);
    let found = public.page(&format!("/api/v1/requests/{id}")).await;
    assert_eq!(found.status, 200, "{}", found.text());
}

#[tokio::test]
async fn the_process_is_told_of() {
    let metrics = listening("").await.metrics().await;
    for (family, kind) in [
        ("process_cpu_seconds_total", "counter"),
        ("process_max_fds", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_threads", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
    ] {
        let found = metrics.families().get(family);
        assert_eq!(found.map(|one| one.kind.as_str()), Some(kind), "{family}");
    }
    assert!(metrics.value("process_open_fds", &[]) > 3.0);
}

#[tokio::test]
async fn a_label_value_is_escaped() {
    let node = "a \"quoted\" \\ back\nslash";
    let launch = launch().env("NODE_NAME", node).args("run --listen 127.0.0.1:0");
    let public = launch.peer().await;
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_server_info", &[("node", node)]), 1.0);
}

#[tokio::test]
async fn the_status_page_shows_names_and_who_serves_them() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service local.example={}", backend.addr())).await;
    let service = format!("--service {NAME}={} --peer-id beside-it", backend.addr());
    let behind = connecting(public.listen(), &service).await;
    public.serves(&["local.example", NAME]).await;
    let page = public.page("/").await;
    assert_eq!(page.status, 200);
    assert!(page.field("content-type").starts_with("text/html"));
    for shown in [NAME, "local.example", "beside-it"] {
        assert!(page.text().contains(shown), "{shown} is not on the page");
    }
    let page = behind.page("/").await.text();
    assert!(page.contains(&public.listen().to_string()), "the upstream is not on the page");
}

#[tokio::test]
async fn a_scrape_of_many_names_has_each_of_them_once_and_in_order() {
    let public = listening("").await;
    let (_link, names) = names(&public, 5_000, "example").await;
    let page = public.page("/metrics").await;
    assert_eq!(page.field("transfer-encoding"), "chunked");
    let text = page.text();
    let up = text.lines().filter_map(|line| {
        let (_, labels) = line.split_once("ops_proxy_client_up{client_name=\"")?;
        labels.split('"').next()
    });
    assert!(up.eq(names.iter()), "not the names that were registered");
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_clients_total", &[]), 5_000.0);
    assert_eq!(metrics.value("ops_proxy_clients_connected", &[]), 5_000.0);
    assert_eq!(metrics.value("ops_proxy_client_registrations_total", &[]), 5_000.0);
}

#[tokio::test]
async fn scrapers_that_stop_reading_hold_up_neither_probes_nor_requests() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let (_link, _) = long_names(&public).await;
    // As many as there may be have begun; the others wait for them.
    let stalled = stalled_scrapers(&public).await;
    let mut waiting = [scraper(&public).await, scraper(&public).await, scraper(&public).await];
    assert_eq!(public.page("/readyz").await.status, 200);
    assert_eq!(public.page("/").await.status, 200);
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
    drop(stalled);
    let [one, two, three] = &mut waiting;
    let answers = tokio::join!(
        client::last_answer(one),
        client::last_answer(two),
        client::last_answer(three)
    );
    for answer in [answers.0, answers.1, answers.2] {
        assert!(answer.text().contains("ops_proxy_client_up{client_name=\"n09999."));
    }
}

/// So many names that a scrape of them is more text than the buffers of a connection
/// hold.
async fn long_names(public: &Peer) -> (Link, Vec<String>) {
    names(public, 10_000, &format!("{0}.{0}.example", "x".repeat(50))).await
}

/// Asks for a scrape, and reads nothing of it.
async fn scraper(public: &Peer) -> TcpStream {
    let mut scraper = connect(public.admin()).await;
    scraper.write_all(client::get_request("/metrics", "admin").as_bytes()).await.unwrap();
    scraper
}

/// As many scrapers as there may be, whose scrapes have begun and go no further.
async fn stalled_scrapers(public: &Peer) -> Vec<TcpStream> {
    let mut stalled = Vec::new();
    for _ in 0..ADMIN_SCRAPES {
        let mut begun = scraper(public).await;
        begun.read_exact(&mut [0; 1024]).await.unwrap();
        stalled.push(begun);
    }
    stalled
}

fn admin_limit(metrics: &Metrics) -> f64 {
    metrics.value("ops_proxy_rejected_total", &[("reason", "admin_limit")])
}

/// A probe waits for no deadline: those who came last are still there when it was
/// answered.
#[tokio::test]
async fn a_probe_is_answered_beside_any_number_of_silent_connections() {
    let public = listening("").await;
    let mut silent = Vec::new();
    for _ in 0..3 * ADMIN_CONNECTIONS {
        silent.push(connect(public.admin()).await);
    }
    assert_eq!(public.page("/healthz").await.status, 200);
    // All that there is no room for, one for the probe, and one for the scrape if the
    // probe has not left yet.
    let let_go = admin_limit(&public.metrics().await) as usize;
    let beyond = 2 * ADMIN_CONNECTIONS;
    assert!([beyond + 1, beyond + 2].contains(&let_go), "{let_go}");
    let (gone, still_there) = silent.split_at_mut(let_go);
    for one in gone {
        assert_eq!(client::to_end(one).await.unwrap(), b"");
    }
    for one in still_there {
        let read = one.try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock));
    }
}

#[tokio::test]
async fn a_scrape_takes_the_place_of_one_that_is_not_read() {
    let public = listening("").await;
    let (_link, _) = long_names(&public).await;
    let mut stalled = stalled_scrapers(&public).await;
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_clients_total", &[]), 10_000.0);
    assert_eq!(admin_limit(&metrics), 1.0);
    let rest = client::to_end(&mut stalled[0]).await.unwrap_or_default();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "cut, and seen to be cut");
}

#[tokio::test]
async fn a_scrape_for_which_too_many_wait_is_503_at_once() {
    let public = listening("").await;
    let (_link, _) = long_names(&public).await;
    let _stalled = stalled_scrapers(&public).await;
    let mut waiting = Vec::new();
    for _ in 0..ADMIN_SCRAPES_WAITING + 1 {
        waiting.push(scraper(&public).await);
    }
    let refused = until("an answer to one of them", async || {
        for (index, one) in waiting.iter().enumerate() {
            if timeout(Duration::ZERO, one.peek(&mut [0])).await.is_ok() {
                return Some(index);
            }
        }
        None
    })
    .await;
    let answer = client::last_answer(&mut waiting[refused]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after"), "5");
    assert_eq!(public.page("/healthz").await.status, 200);
}

#[tokio::test]
async fn the_status_page_lists_a_thousand_names_and_counts_them_all() {
    let public = listening("").await;
    let (_link, _) = names(&public, 1_234, "example").await;
    let page = public.page("/").await.text();
    assert!(page.contains("1234 of 1234 names up"), "{}", &page[..2_000]);
    assert!(page.contains("n00999.example") && !page.contains("n01000.example"));
    assert!(page.contains("and 234 more"));
}
