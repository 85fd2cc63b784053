//! DATA connections dialled ahead: what goes over them, what is kept, and what a
//! stale one costs.

use std::net::SocketAddr;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect, get_request};
use ops_proxy_tests::link::{Link, data};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{Mesh, Metrics, NAME, Path, connecting, idle_data, launch, listening};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// How many FORWARDs on idle connections ended this way.
async fn forwards(peer: &Peer, result: &str) -> f64 {
    peer.metrics().await.value("ops_proxy_idle_data_forwards_total", &[("result", result)])
}

/// An idle DATA connection of the peer `by-hand`, which the peer has taken in.
async fn introduced(peer: &Peer) -> Link {
    let mut idle = Link::on(connect(peer.listen()).await);
    idle.send("DATA:idle:by-hand").await;
    peer.until("the idle connection", |metrics| idle_data(metrics) == 1.0).await;
    idle
}

/// A public request that is under way.
async fn asking(to: SocketAddr) -> TcpStream {
    let mut client = connect(to).await;
    client.write_all(get_request("/x", NAME).as_bytes()).await.unwrap();
    client
}

/// The payload of the next frame, empty for the end of the direction.
async fn frame(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let length = within("a frame", stream.read_u16()).await.unwrap();
    let mut bytes = vec![0; usize::from(length)];
    within("the rest of a frame", stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

fn framed(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// [`NAME`], whose requests go through as they are.
const OFFER: &str = "app.example;forwarded=no";

#[tokio::test]
async fn requests_one_after_the_other_go_over_one_connection() {
    let backend = Backend::http().await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    for round in 1..=20 {
        assert_eq!(client::get(mesh.addr(), "/x", NAME).await.text(), format!("GET /x\n{NAME}\n"));
        let metrics = mesh.public.quiet().await;
        let answered = [("result", "answered")];
        assert_eq!(
            metrics.value("ops_proxy_idle_data_forwards_total", &answered),
            f64::from(round)
        );
        assert!(idle_data(&metrics) >= 2.0, "the connection waits again, beside a spare one");
        assert!(idle_data(&metrics) <= 3.0, "no more are dialled than were needed");
        assert_eq!(metrics.value("ops_proxy_forward_commands_total", &[]), f64::from(round));
        assert_eq!(
            metrics.value("ops_proxy_data_connections_matched_total", &[]),
            f64::from(round)
        );
    }
    let behind = mesh.behind.as_ref().unwrap();
    let metrics = behind
        .until("the last request's end", |metrics| {
            metrics.value("ops_proxy_client_active_forwards", &[]) == 0.0
        })
        .await;
    assert_eq!(metrics.value("ops_proxy_client_forwards_total", &[]), 20.0);
    assert_eq!(metrics.value("ops_proxy_client_forwards_failed_total", &[]), 0.0);
    assert!(metrics.value("ops_proxy_client_idle_data_connections", &[]) >= 2.0);
}

#[tokio::test]
async fn the_first_bytes_of_a_request_leave_with_its_forward() {
    let public = listening("").await;
    let _link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
    let mut idle = introduced(&public).await;
    let mut client = asking(public.listen()).await;
    let forward = idle.forward().await;
    assert_eq!(forward.name, NAME);
    let mut stream = idle.into_buffered();
    assert_eq!(frame(&mut stream).await, get_request("/x", NAME).as_bytes(), "before any DATA");
    let sent = get_request("/x", NAME).len() as f64;
    // The FORWARD may be read here before it is counted there.
    let waits = |metrics: &Metrics| metrics.value("ops_proxy_pending_data_connections", &[]) == 1.0;
    let metrics = public.until("the request waits", waits).await;
    assert_eq!(metrics.value("ops_proxy_connections_bytes_tx_total", &[]), 0.0);

    let answer = format!("DATA:{}\n", forward.proxy_id);
    let answer = [answer.as_bytes(), &framed(ANSWER), &[0, 0]].concat();
    stream.get_mut().write_all(&answer).await.unwrap();
    assert_eq!(client::to_end(&mut client).await.unwrap(), ANSWER.as_bytes());
    drop(client);
    assert_eq!(frame(&mut stream).await, b"", "the client's end");
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_connections_bytes_tx_total", &[]), sent);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
    assert_eq!(idle_data(&metrics), 1.0, "it waits for the next");

    // And the next comes on it.
    let _client = asking(public.listen()).await;
    let mut line = String::new();
    within("the next FORWARD", stream.read_line(&mut line)).await.unwrap();
    assert!(line.starts_with("FORWARD:"), "{line:?}");
}

#[tokio::test]
async fn a_stale_connection_costs_a_retry_and_no_request() {
    let public = listening("").await;
    let mut link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
    let mut idle = introduced(&public).await;
    let mut client = asking(public.listen()).await;
    let first = idle.forward().await;
    drop(idle);
    let again = link.forward().await;
    assert_eq!(again, first, "the same request");
    let mut stream = data(connect(public.listen()).await, &again.proxy_id).await;
    let mut head = vec![0; get_request("/x", NAME).len()];
    within("the head", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head, get_request("/x", NAME).as_bytes());
    stream.write_all(ANSWER.as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(client::to_end(&mut client).await.unwrap(), ANSWER.as_bytes());
    drop(client);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_forward_commands_total", &[]), 1.0, "one a request");
    assert_eq!(metrics.value("ops_proxy_connections_bytes_tx_total", &[]), head.len() as f64);
    assert_eq!(forwards(&public, "stale").await, 1.0);
    assert_eq!(idle_data(&metrics), 0.0);
}

#[tokio::test]
async fn who_may_have_got_the_request_is_not_replaced_and_who_refused_is() {
    let backend = Backend::http().await;
    for refuses in [false, true] {
        let public = listening("").await;
        let link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
        let mut idle = introduced(&public).await;
        let service = format!("--service {NAME}={} --idle-data 0", backend.addr());
        let _sound = connecting(public.listen(), &service).await;
        public
            .until("both registrations", |metrics| {
                metrics.value("ops_proxy_client_registrations_total", &[]) >= 2.0
            })
            .await;
        let mut client = asking(public.listen()).await;
        let id = idle.forward().await.proxy_id;
        if refuses {
            idle.send(&format!("FAIL:{id}:backend_refused")).await;
        } else {
            drop(link);
        }
        let answer = client::last_answer(&mut client).await;
        drop(client);
        let metrics = public.quiet().await;
        let forwards = metrics.value("ops_proxy_forward_commands_total", &[]);
        let lost = [("reason", "link_lost")];
        let lost = metrics.value("ops_proxy_proxy_errors_total", &lost);
        let seen = (answer.status, forwards, lost);
        assert_eq!(seen, if refuses { (200, 2.0, 0.0) } else { (502, 1.0, 1.0) });
    }
}

#[tokio::test]
async fn only_an_open_link_can_have_idle_connections() {
    let public = listening("").await;
    let _link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
    let strangers = Link::on(connect(public.listen()).await);
    let hasty = Link::on(connect(public.listen()).await);
    for (mut idle, lines) in [(strangers, "DATA:idle:stranger"), (hasty, "DATA:idle:by-hand\nDATA")]
    {
        idle.send(lines).await;
        assert!(idle.breaks().await, "{lines}");
    }
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "idle_data")]), 2.0);
    assert_eq!(idle_data(&metrics), 0.0);
}

#[tokio::test]
async fn idle_connections_end_with_their_link() {
    let public = listening("").await;
    let link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
    let idle = introduced(&public).await;
    drop(link);
    assert!(idle.breaks().await);
    public.until("none to be left", |metrics| idle_data(metrics) == 0.0).await;
}

/// An idle connection that answers with another id than it was asked for.
#[tokio::test]
async fn an_answer_for_another_request_is_unexpected() {
    let public = listening("").await;
    let mut link = Link::register(public.listen(), "by-hand", &[OFFER]).await;
    let mut idle = introduced(&public).await;
    let _client = asking(public.listen()).await;
    idle.forward().await;
    idle.send(&format!("DATA:{ID}")).await;
    link.forward().await;
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_data_connections_unexpected_total", &[]), 1.0);
}

/// The connecting side, and an idle DATA connection of it.
async fn dialled(listener: &TcpListener, backend: SocketAddr) -> (Peer, Link, Link) {
    let addr = listener.local_addr().unwrap();
    let args = format!("--service {NAME}={backend} --peer-id beside --idle-data 1");
    let behind = connecting(addr, &args).await;
    let mut link = Link::on(backend::accept(listener).await);
    assert_eq!(link.line().await, "HELLO:1:beside");
    assert_eq!(link.line().await, format!("REGISTER:{NAME}"));
    link.send("OK:0:hub\nOK:1").await;
    let mut idle = Link::on(backend::accept(listener).await);
    assert_eq!(idle.line().await, "DATA:idle:beside");
    (behind, link, idle)
}

#[tokio::test]
async fn a_forward_that_broke_is_not_served_again() {
    let backend = Backend::http().await;
    let (listener, _) = backend::listener().await;
    let (behind, mut link, mut idle) = dialled(&listener, backend.addr()).await;
    let forward = format!("FORWARD:{ID}:{NAME}:http:192.0.2.7:5555");
    idle.send(&forward).await;
    assert_eq!(idle.line().await, format!("DATA:{ID}"));
    backend::reset(idle.into_stream());
    behind
        .until("the forward's end", |metrics| {
            metrics.value("ops_proxy_client_forwards_failed_total", &[]) == 1.0
        })
        .await;
    link.send(&forward).await;
    assert_eq!(link.line().await, format!("FAIL:{ID}:overloaded"));
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_is_taken_away_is_dialled_again_at_the_next_heartbeat() {
    let (listener, addr) = backend::listener().await;
    let args = format!("--service {NAME}=127.0.0.1:1 --idle-data 1 --heartbeat 100ms");
    let behind = connecting(addr, &args).await;
    let mut link = Link::on(backend::accept(&listener).await);
    link.send("OK:0:hub\nOK:1").await;
    for _ in 0..3 {
        let mut idle = Link::on(backend::accept(&listener).await);
        assert!(idle.line().await.starts_with("DATA:idle:"));
    }
    let metrics = behind.metrics().await;
    assert_eq!(metrics.value("ops_proxy_client_link_up", &[]), 1.0, "the link stands");
}

#[tokio::test]
async fn more_than_a_listening_peer_takes_is_a_mistake() {
    let command =
        launch().args("run --connect 127.0.0.1:1 --service a=127.0.0.1:1").args("--idle-data 1025");
    let (code, _, stderr) = command.start().output().await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("idle_data: must be at most 1024"), "{stderr}");
}
