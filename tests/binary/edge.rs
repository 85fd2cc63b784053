//! HTTP by request: every request of a connection goes where its Host says.

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{connecting, every_way, listening};

const ONE: &str = "one.example";
const TWO: &str = "two.example";

/// Two names on two backends behind one peer, and the backends.
struct Two {
    hub: Peer,
    _site: Peer,
    backends: [Backend; 2],
}

impl Two {
    async fn new(one: Backend, two: Backend, args: &str) -> Self {
        let hub = listening("").await;
        let services =
            format!("{} {} {args}", every_way(ONE, one.addr()), every_way(TWO, two.addr()));
        let site = connecting(hub.listen(), &services).await;
        hub.serves(&[ONE, TWO]).await;
        Self { hub, _site: site, backends: [one, two] }
    }

    /// Each says which one it is.
    async fn named() -> Self {
        Self::new(Backend::named("one").await, Backend::named("two").await, "").await
    }

    async fn connect(&self) -> TcpStream {
        connect(self.hub.listen()).await
    }

    async fn value(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.hub.quiet().await.value(family, labels)
    }
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// The next answer comes from this backend, and is for this path.
async fn assert_answered(stream: &mut TcpStream, by: &str, path: &str) {
    let answer = client::next_answer(stream).await;
    assert_eq!((answer.status, answer.field("x-backend")), (200, by), "{path}");
    assert!(answer.text().starts_with(&format!("GET {path}\n")), "{}", answer.text());
}

#[tokio::test]
async fn requests_of_one_connection_go_where_each_host_says() {
    let two = Two::named().await;
    let mut stream = two.connect().await;
    for round in 0..50 {
        let path = format!("/{round}");
        stream.write_all(get(ONE, &path).as_bytes()).await.unwrap();
        assert_answered(&mut stream, "one", &path).await;
        stream.write_all(get(TWO, &path).as_bytes()).await.unwrap();
        assert_answered(&mut stream, "two", &path).await;
        stream.write_all(get("nobody.example", &path).as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 404);
    }
    drop(stream);
    let metrics = two.hub.quiet().await;
    for name in [ONE, TWO] {
        let of_name = |family: &str| metrics.value(family, &[("client_name", name)]);
        assert_eq!(of_name("ops_proxy_requests_success_total"), 50.0, "a stretch each");
        assert_eq!(of_name("ops_proxy_requests_failed_total"), 0.0);
        assert_eq!(of_name("ops_proxy_forward_commands_total"), 50.0);
    }
    let unknown = [("client_name", "_other"), ("reason", "no_client")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unknown), 50.0);
}

#[tokio::test]
async fn requests_for_the_same_name_stay_on_one_backend_connection() {
    let two = Two::named().await;
    let mut stream = two.connect().await;
    for path in ["/a", "/b", "/c"] {
        stream.write_all(get(ONE, path).as_bytes()).await.unwrap();
        assert_answered(&mut stream, "one", path).await;
    }
    drop(stream);
    assert_eq!(two.value("ops_proxy_requests_success_total", &[]).await, 1.0);
    assert_eq!(two.value("ops_proxy_forward_commands_total", &[]).await, 1.0);
    assert_eq!(two.backends[0].accepted(), 1);
}

#[tokio::test]
async fn pipelined_requests_keep_their_order_and_reach_their_backends() {
    let two = Two::named().await;
    let hosts = [ONE, ONE, TWO, ONE, "nobody.example", TWO, TWO, ONE];
    let all: String =
        hosts.iter().enumerate().map(|(n, host)| get(host, &format!("/{n}"))).collect();
    // All at once, and one byte at a time.
    for piece in [all.len(), 1] {
        let mut stream = two.connect().await;
        for piece in all.as_bytes().chunks(piece) {
            stream.write_all(piece).await.unwrap();
        }
        for (n, host) in hosts.iter().enumerate() {
            match *host {
                ONE => assert_answered(&mut stream, "one", &format!("/{n}")).await,
                TWO => assert_answered(&mut stream, "two", &format!("/{n}")).await,
                _ => assert_eq!(client::next_answer(&mut stream).await.status, 404),
            }
        }
    }
}

#[tokio::test]
async fn bodies_of_every_framing_are_followed_by_the_next_request() {
    let two = Two::named().await;
    let bodies = [
        ("Content-Length: 0", ""),
        ("Content-Length: 10", "GET / HTTP"),
        ("Transfer-Encoding: chunked", "a;x=y\r\nGET / HTTP\r\n0\r\nTrailer: z\r\n\r\n"),
    ];
    let mut stream = two.connect().await;
    for (fields, body) in bodies {
        let post = format!("POST /sha256 HTTP/1.1\r\nHost: {ONE}\r\n{fields}\r\n\r\n{body}");
        stream.write_all((post + &get(TWO, "/next")).as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.field("x-backend"), "one");
        assert_answered(&mut stream, "two", "/next").await;
    }
    // An answer in chunks, of more than a relay reads at a time.
    stream.write_all(get(ONE, "/chunked/300000").as_bytes()).await.unwrap();
    let head = client::head(&mut stream).await;
    assert_eq!(head.field("transfer-encoding"), "chunked");
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        within("the body", stream.read_buf(&mut body)).await.unwrap();
        assert!(!body.is_empty());
    }
    stream.write_all(get(TWO, "/next").as_bytes()).await.unwrap();
    assert_answered(&mut stream, "two", "/next").await;
}

/// A backend by hand: one connection, whose requests are answered like this in turn.
async fn answering(answers: &'static [&'static str]) -> Backend {
    Backend::start(move |mut stream| async move {
        for answer in answers {
            client::raw_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // It stays open until the other end closes.
        let _ = stream.read(&mut [0]).await;
    })
    .await
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let odd = answering(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ])
    .await;
    let two = Two::new(odd, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 100)] {
        let request = format!("{method} / HTTP/1.1\r\nHost: {ONE}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(client::head(&mut stream).await.status, status);
        if status == 100 {
            assert_eq!(client::head(&mut stream).await.status, 200);
        }
    }
    stream.write_all(get(TWO, "/").as_bytes()).await.unwrap();
    assert_answered(&mut stream, "two", "/").await;
}

#[tokio::test]
async fn after_101_the_connection_is_carried_blind() {
    let echo = Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switched).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let two = Two::new(echo, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    let upgrade =
        format!("GET / HTTP/1.1\r\nHost: {ONE}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    // The first bytes of the other protocol may come early; they look like a request.
    let early = get(TWO, "/");
    stream.write_all((upgrade + &early).as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 101);
    let mut echoed = vec![0; early.len()];
    within("the echo", stream.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(echoed, early.as_bytes());
    client::assert_carries(&mut stream).await;
}

#[tokio::test]
async fn an_answer_that_lasts_until_close_ends_the_connection() {
    let old = Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await.unwrap();
    })
    .await;
    let two = Two::new(old, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
    let answer = client::last_answer(&mut stream).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "until the end"));
}

#[tokio::test]
async fn after_an_answer_that_closes_no_other_request_is_served() {
    let two = Two::named().await;
    let last = format!("GET /last HTTP/1.1\r\nHost: {ONE}\r\nConnection: close\r\n\r\n");
    let mut stream = two.connect().await;
    stream.write_all((last + &get(TWO, "/too-late")).as_bytes()).await.unwrap();
    let answer = client::last_answer(&mut stream).await;
    assert_eq!((answer.status, answer.field("x-backend")), (200, "one"));
    assert_eq!(two.value("ops_proxy_requests_success_total", &[]).await, 1.0);
    assert_eq!(two.backends[1].accepted(), 0);
}

#[tokio::test]
async fn behind_an_answer_that_closes_nothing_follows() {
    // It says that it closes, and would serve on.
    let leaves = Backend::start(|mut stream| async move {
        loop {
            client::raw_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let two = Two::new(leaves, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(&mut stream).await.text(), "ok");
    stream.write_all(get(ONE, "/too-late").as_bytes()).await.unwrap();
    assert_eq!(client::to_end(&mut stream).await.unwrap(), b"");
    assert_eq!(two.value("ops_proxy_requests_success_total", &[]).await, 1.0);
    assert_eq!(two.value("ops_proxy_requests_failed_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_backend_that_closes_between_requests_is_dialled_again() {
    let once = Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let two = Two::new(once, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    for _ in 0..3 {
        stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.text(), "ok");
        two.hub.quiet().await;
    }
    drop(stream);
    assert_eq!(two.value("ops_proxy_requests_success_total", &[]).await, 3.0);
    assert_eq!(two.value("ops_proxy_requests_failed_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_client_that_resets_between_two_requests_has_not_failed() {
    let two = Two::named().await;
    let mut stream = two.connect().await;
    stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
    assert_answered(&mut stream, "one", "/").await;
    backend::reset(stream);
    assert_eq!(two.value("ops_proxy_requests_success_total", &[]).await, 1.0);
    assert_eq!(two.value("ops_proxy_requests_failed_total", &[]).await, 0.0);
}

#[tokio::test]
async fn ambiguous_framing_is_400_after_the_answers_before_it() {
    let two = Two::named().await;
    for bad in [
        "POST / HTTP/1.1\r\nHost: one.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: one.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "GET / HTTP/1.1\nHost: one.example\n\n",
        "GET / HTTP/1.1\r\nHost: one.example\r\nX: a\r\n b\r\n\r\n",
        // Its backend answers when it has read the body, and not before.
        "POST /sha256 HTTP/1.1\r\nHost: one.example\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ] {
        let mut stream = two.connect().await;
        stream
            .write_all((get(ONE, "/good") + bad + &get(TWO, "/hidden")).as_bytes())
            .await
            .unwrap();
        assert_answered(&mut stream, "one", "/good").await;
        assert_eq!(client::last_answer(&mut stream).await.status, 400, "{bad:?}");
    }
    assert_eq!(two.backends[1].accepted(), 0, "what was hidden behind it went nowhere");
    let bad = [("reason", "bad_framing")];
    assert_eq!(two.value("ops_proxy_rejected_total", &bad).await, 5.0);
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_502() {
    let odd =
        answering(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"]).await;
    let two = Two::new(odd, Backend::named("two").await, "").await;
    let mut stream = two.connect().await;
    stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
    assert_eq!(client::last_answer(&mut stream).await.status, 502);
    assert_eq!(two.value("ops_proxy_requests_failed_total", &[]).await, 1.0);
}

#[tokio::test]
async fn what_is_answered_to_a_head_for_its_backend_has_no_body() {
    let odd =
        answering(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n"]).await;
    let silent = Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
    });
    for backend in [odd, silent.await] {
        let two = Two::new(backend, Backend::named("two").await, "").await;
        let mut stream = two.connect().await;
        let head = format!("HEAD / HTTP/1.1\r\nHost: {ONE}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(client::head(&mut stream).await.status, 502);
        assert_eq!(client::to_end(&mut stream).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_connect_behind_a_request_begins_a_tunnel() {
    let two = Two::new(Backend::named("one").await, Backend::echo().await, "").await;
    let mut stream = two.connect().await;
    stream.write_all(get(ONE, "/").as_bytes()).await.unwrap();
    assert_answered(&mut stream, "one", "/").await;
    stream.write_all(client::connect_request(TWO).as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 200);
    client::assert_carries(&mut stream).await;
}
