//! Each HTTP request is counted, once, by the name that it was for and by its answer.

use std::sync::Arc;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::{Mesh, NAME, Path, listening};

const REQUESTS: &str = "ops_proxy_http_requests_total";
const DURATION: &str = "ops_proxy_http_request_duration_seconds_count";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

/// These are the requests that are counted, and no others: by name and code.
async fn assert_counted(peer: &Peer, expected: &[(&str, &str, usize)]) {
    let is_there = |metrics: &Metrics| {
        expected.iter().all(|(name, code, count)| {
            metrics.value(REQUESTS, &[("client_name", name), ("code", code)]) == *count as f64
        })
    };
    let metrics = peer.until(&format!("{expected:?} to be counted"), is_there).await;
    let in_all: usize = expected.iter().map(|(_, _, count)| count).sum();
    assert_eq!(metrics.value(REQUESTS, &[]), in_all as f64, "no others");
    assert_eq!(metrics.value(DURATION, &[]), in_all as f64);
}

/// A backend that answers as many requests as these, and then ends like this.
async fn answering(answers: &'static [&'static [u8]], resets: bool) -> Backend {
    Backend::start(move |mut stream| async move {
        for answer in answers {
            client::raw_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        if resets {
            client::raw_head(&mut stream).await;
            backend::reset(stream);
        } else {
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await
}

#[tokio::test]
async fn pipelined_requests_are_counted_one_by_one() {
    for path in Path::ALL {
        let backend = Backend::named("app").await;
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let mut stream = connect(mesh.public.listen()).await;
        let head = format!("HEAD / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        let unknown = "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n";
        let all = get("/1") + &get("/2") + unknown + &get("/3") + &head;
        stream.write_all(all.as_bytes()).await.unwrap();
        for status in [200, 200, 404, 200] {
            assert_eq!(client::next_answer(&mut stream).await.status, status);
        }
        assert_eq!(client::head(&mut stream).await.status, 200);
        let expected = [(NAME, "2xx", 4), ("_other", "4xx", 1)];
        assert_counted(&mesh.public, &expected).await;
        drop(stream);
        assert_counted(&mesh.public, &expected).await;
    }
}

#[tokio::test]
async fn each_class_of_status_is_counted_as_what_it_is() {
    let backend = answering(
        &[
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        ],
        false,
    )
    .await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.public.listen()).await;
    for status in [100, 304, 404, 500, 999] {
        stream.write_all(get("/").as_bytes()).await.unwrap();
        assert_eq!(client::head(&mut stream).await.status, status);
        if status == 100 {
            assert_eq!(client::head(&mut stream).await.status, 204);
        }
    }
    let expected = [(NAME, "2xx", 1), (NAME, "3xx", 1), (NAME, "4xx", 1), (NAME, "5xx", 2)];
    assert_counted(&mesh.public, &expected).await;
}

#[tokio::test]
async fn a_tunnel_is_counted_when_it_ends() {
    let echo = Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switched).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let mesh = Mesh::serving(Path::Tunnelled, echo.addr(), "").await;
    let mut stream = connect(mesh.public.listen()).await;
    let upgrade = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 101);
    client::assert_carries(&mut stream).await;
    assert_counted(&mesh.public, &[]).await;
    drop(stream);
    assert_counted(&mesh.public, &[(NAME, "1xx", 1)]).await;

    let echo = Backend::echo().await;
    let mesh = Mesh::serving(Path::Tunnelled, echo.addr(), "").await;
    let stream = client::stream_to(mesh.public.listen(), NAME).await;
    assert_counted(&mesh.public, &[]).await;
    drop(stream);
    assert_counted(&mesh.public, &[(NAME, "2xx", 1)]).await;
}

#[tokio::test]
async fn what_ends_without_an_answer_is_counted_as_none() {
    // The second of three is answered in place of the backend, the third not at all.
    let backend = answering(&[OK], true).await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.public.listen()).await;
    stream.write_all((get("/1") + &get("/2") + &get("/3")).as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(&mut stream).await.status, 200);
    assert_eq!(client::last_answer(&mut stream).await.status, 502);
    let expected = [(NAME, "2xx", 1), (NAME, "5xx", 1), (NAME, "none", 1)];
    assert_counted(&mesh.public, &expected).await;

    // The client leaves before the answer, and in the middle of it.
    let heard = Arc::new(Notify::new());
    let hears = heard.clone();
    let backend = Backend::start(move |mut stream| {
        let hears = hears.clone();
        async move {
            let head = client::raw_head(&mut stream).await;
            if head.starts_with(b"GET /half") {
                let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
                stream.write_all(half).await.unwrap();
            }
            hears.notify_one();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.public.listen()).await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    within("the request", heard.notified()).await;
    backend::reset(stream);
    assert_counted(&mesh.public, &[(NAME, "none", 1)]).await;
    let mut stream = connect(mesh.public.listen()).await;
    stream.write_all(get("/half").as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 200);
    backend::reset(stream);
    assert_counted(&mesh.public, &[(NAME, "none", 1), (NAME, "2xx", 1)]).await;
}

#[tokio::test]
async fn what_this_peer_answers_is_counted_under_the_name_if_there_is_one() {
    let (_port, refusing) = backend::refusing();
    let mesh = Mesh::serving(Path::Tunnelled, refusing, "").await;
    let to = mesh.public.listen();
    assert_eq!(client::get(to, "/", NAME).await.status, 502);
    let connect = client::connect_request(NAME);
    assert_eq!(client::exchange(to, connect.as_bytes()).await.status, 502);
    assert_eq!(client::get(to, "/", "nobody.example").await.status, 404);
    let connect = client::connect_request("nobody.example");
    assert_eq!(client::exchange(to, connect.as_bytes()).await.status, 404);
    assert_eq!(client::exchange(to, b"GET / HTTP/1.1\r\n\r\n").await.status, 400);
    let large = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    assert_eq!(client::exchange(to, large.as_bytes()).await.status, 431);
    let bad = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(client::exchange(to, bad.as_bytes()).await.status, 400);
    assert_counted(&mesh.public, &[(NAME, "5xx", 2), ("_other", "4xx", 5)]).await;
}

#[tokio::test]
async fn a_name_without_a_provider_keeps_its_503s() {
    let backend = Backend::named("app").await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let Mesh { public, behind, .. } = mesh;
    drop(behind);
    let gone = |metrics: &Metrics| metrics.value("ops_proxy_client_up", &[]) == 0.0;
    public.until("the name to be down", gone).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 503);
    assert_counted(&public, &[(NAME, "5xx", 1)]).await;
}

#[tokio::test]
async fn a_backend_that_resets_between_requests_has_not_failed() {
    let answered = Arc::new(Notify::new());
    let resets = answered.clone();
    let once = Backend::start(move |mut stream| {
        let resets = resets.clone();
        async move {
            client::raw_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            resets.notified().await;
            backend::reset(stream);
        }
    })
    .await;
    let mesh = Mesh::serving(Path::Local, once.addr(), "").await;
    let mut stream = connect(mesh.public.listen()).await;
    for round in 1..4 {
        stream.write_all(get("/").as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 200);
        answered.notify_one();
        let ended = |metrics: &Metrics| {
            metrics.value("ops_proxy_requests_success_total", &[]) == f64::from(round)
        };
        mesh.public.until("the stretch to end", ended).await;
    }
    assert_counted(&mesh.public, &[(NAME, "2xx", 3)]).await;
    assert_eq!(mesh.public.metrics().await.value("ops_proxy_requests_failed_total", &[]), 0.0);
}

/// What the client reads next is the end.
async fn assert_closed(stream: &mut TcpStream) {
    let end = within("the end", stream.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_drains_waits_for_requests_and_not_for_idle_connections() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, answers) = (asked.clone(), answer.clone());
    let backend = Backend::start(move |mut stream| {
        let (asks, answers) = (asks.clone(), answers.clone());
        async move {
            while client::raw_head(&mut stream).await.starts_with(b"GET") {
                asks.notify_one();
                answers.notified().await;
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let args = format!("--service {NAME}={} --drain-grace 10ms --drain-limit 1h", backend.addr());
    let mut public = listening(&args).await;
    let mut idle = connect(public.listen()).await;
    let mut fresh = connect(public.listen()).await;
    let mut busy = connect(public.listen()).await;
    answer.notify_one();
    idle.write_all(get("/").as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(&mut idle).await.status, 200);
    within("the request", asked.notified()).await;
    // Between stretches.
    let unknown = "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n";
    fresh.write_all(unknown.as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(&mut fresh).await.status, 404);
    busy.write_all(get("/").as_bytes()).await.unwrap();
    within("the request", asked.notified()).await;
    public.terminate();
    assert_closed(&mut idle).await;
    assert_closed(&mut fresh).await;
    answer.notify_one();
    assert_eq!(client::next_answer(&mut busy).await.status, 200);
    assert_closed(&mut busy).await;
    assert_eq!(public.exit_code().await, 0);
}
