//! SIGTERM: a peer says that it goes, and goes without cutting anybody.

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, assert_carries, connect, stream_to};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{NAME, connecting, every_way, launch, listening};

async fn assert_ends_cleanly(mut stream: TcpStream) {
    stream.shutdown().await.unwrap();
    assert_eq!(client::to_end(&mut stream).await.unwrap(), b"");
}

async fn not_ready(peer: &Peer) {
    until("/readyz to be 503", async || (peer.page("/readyz").await.status == 503).then_some(()))
        .await;
}

#[tokio::test]
async fn a_connecting_peer_withdraws_its_names_and_lets_its_streams_end() {
    let echo = Backend::echo().await;
    let public = listening("").await;
    let service = format!("{} --drain-grace 10ms", every_way(NAME, echo.addr()));
    let mut behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;
    let mut stream = stream_to(public.listen(), NAME).await;

    behind.terminate();
    not_ready(&behind).await;
    public.serves(&[]).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 503);
    assert_carries(&mut stream).await;
    assert_ends_cleanly(stream).await;
    assert_eq!(behind.exit_code().await, 0);

    let metrics = public.quiet().await;
    let of_name = |family: &str| metrics.value(family, &[("client_name", NAME)]);
    assert_eq!(of_name("ops_proxy_requests_success_total"), 1.0);
    assert_eq!(of_name("ops_proxy_requests_failed_total"), 0.0);
    assert_eq!(of_name("ops_proxy_client_disconnects_total"), 1.0);
}

#[tokio::test]
async fn a_listening_peer_serves_on_through_the_grace_and_refuses_afterwards() {
    let (echo, http) = (Backend::echo().await, Backend::http().await);
    let services =
        format!("{} --service web.example={}", every_way(NAME, echo.addr()), http.addr());
    let mut public = listening(&format!("{services} --drain-grace 500ms")).await;
    let mut running = stream_to(public.listen(), NAME).await;
    public.terminate();
    not_ready(&public).await;
    until("new requests to be refused", async || {
        let answer = client::get(public.listen(), "/", "web.example").await;
        // Within the grace all is as ever.
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.status);
        (answer.status == 503).then_some(())
    })
    .await;
    assert_carries(&mut running).await;
    assert_ends_cleanly(running).await;
    assert_eq!(public.exit_code().await, 0);
}

#[tokio::test]
async fn while_draining_new_requests_are_served_until_a_second_signal_ends_it() {
    let echo = Backend::echo().await;
    let service = every_way(NAME, echo.addr());
    let mut public = listening(&format!("{service} --drain-grace 1h")).await;
    public.terminate();
    not_ready(&public).await;
    assert_ends_cleanly(stream_to(public.listen(), NAME).await).await;
    public.terminate();
    assert_ne!(public.exit_code().await, 0);
}

#[tokio::test]
async fn a_stream_cut_at_the_drain_limit_ends_with_an_error() {
    let (listener, addr) = backend::listener().await;
    let service = every_way(NAME, addr);
    let mut public = listening(&format!("{service} --drain-grace 10ms --drain-limit 10ms")).await;
    let mut client = connect(public.listen()).await;
    client.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut client).await.status, 200);
    let mut backend = backend::accept(&listener).await;
    public.terminate();
    assert!(client::to_end(&mut client).await.is_err(), "the client took a cut for an end");
    assert!(client::to_end(&mut backend).await.is_err(), "the backend took a cut for an end");
    assert_eq!(public.exit_code().await, 0);
}

/// Until the first bytes of a connection have shown that it is a request, nobody waits
/// for it: the deadline for those bytes would stretch the end.
#[tokio::test]
async fn silent_strangers_do_not_stretch_the_end() {
    let echo = Backend::echo().await;
    let service = format!("{} --log-level debug", every_way(NAME, echo.addr()));
    let mut public = listening(&format!("{service} --drain-grace 10ms --drain-limit 1h")).await;
    let running = stream_to(public.listen(), NAME).await;
    let silent = connect(public.listen()).await;
    let mut hesitant = connect(public.listen()).await;
    hesitant.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    public.terminate();
    not_ready(&public).await;
    assert_ends_cleanly(running).await;
    assert_eq!(public.exit_code().await, 0);
    for mut stranger in [silent, hesitant] {
        let end = client::to_end(&mut stranger).await;
        assert!(end.is_err() || end.is_ok_and(|bytes| bytes.is_empty()), "closed, no answer");
    }
    let log = public.log();
    assert!(log.contains("draining") && !log.contains("head_timeout"), "{log}");
}

/// A request that was accepted, but whose first bytes are still under way, is answered
/// while anything else runs.
#[tokio::test]
async fn a_request_that_was_begun_before_the_end_gets_its_answer() {
    let (echo, http) = (Backend::echo().await, Backend::http().await);
    let services =
        format!("{} --service http.example={}", every_way(NAME, echo.addr()), http.addr());
    let mut public = listening(&format!("{services} --drain-grace 10ms --drain-limit 1h")).await;
    let running = stream_to(public.listen(), NAME).await;
    let mut begun = connect(public.listen()).await;
    begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    public.terminate();
    until("new requests to be refused", async || {
        let status = client::get(public.listen(), "/", "http.example").await.status;
        (status == 503).then_some(())
    })
    .await;
    begun.write_all(format!("Host: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(client::last_answer(&mut begun).await.status, 503);
    assert_ends_cleanly(running).await;
    assert_eq!(public.exit_code().await, 0);
}

/// Requests that come at the very end of a peer with nothing else to do are read, and
/// answered or served.
#[tokio::test]
async fn a_request_that_comes_with_the_signal_gets_its_answer() {
    let http = Backend::http().await;
    let service = format!("--service {NAME}={}", http.addr());
    let mut public = listening(&format!("{service} --drain-grace 1ms")).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(connect(public.listen()).await);
    }
    for client in &mut clients {
        client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
    }
    public.terminate();
    for client in &mut clients {
        let status = client::last_answer(client).await.status;
        assert!(status == 200 || status == 503, "{status}");
    }
    assert_eq!(public.exit_code().await, 0);
}

#[tokio::test]
async fn an_idle_peer_ends_with_its_links() {
    let mut public = listening("--drain-grace 10ms").await;
    let service = format!("--service {NAME}=127.0.0.1:1");
    let behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;
    public.terminate();
    assert_eq!(public.exit_code().await, 0);
    not_ready(&behind).await;
    // The listening peer comes back, and so do the names.
    let again = launch().args(&format!("run --listen {}", public.listen())).peer().await;
    again.serves(&[NAME]).await;
}

#[tokio::test]
async fn an_interrupt_drains_as_well() {
    let mut public = listening("--drain-grace 1h").await;
    public.interrupt();
    not_ready(&public).await;
    public.interrupt();
    assert_ne!(public.exit_code().await, 0);
}
