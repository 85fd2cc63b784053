//! DATA connections that nobody waits for.

use ops_proxy_tests::client::{self, connect, connect_from};
use ops_proxy_tests::link::{self, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{NAME, listening};

const UNEXPECTED: &str = "ops_proxy_data_connections_unexpected_total";
const MATCHED: &str = "ops_proxy_data_connections_matched_total";

async fn assert_closed(mut stream: TcpStream) {
    let end = client::to_end(&mut stream).await;
    assert!(end.is_err() || end.is_ok_and(|bytes| bytes.is_empty()), "closed without payload");
}

#[tokio::test]
async fn an_unknown_id_is_closed_and_counted() {
    let public = listening("").await;
    let id = "0123456789abcdef0123456789abcdef";
    assert_closed(link::data(connect(public.listen()).await, id).await).await;
    let metrics = public.quiet().await;
    assert_eq!(metrics.value(UNEXPECTED, &[]), 1.0);
    assert_eq!(metrics.value(MATCHED, &[]), 0.0);
}

#[tokio::test]
async fn the_id_of_another_peer_is_refused_and_the_rightful_one_still_matches() {
    let public = listening("").await;
    let offer = format!("{NAME};forwarded=no");
    let mut peer = Link::register(public.listen(), "by-hand", &[&offer]).await;
    let mut client = connect(public.listen()).await;
    let request = client::get_request("/", NAME);
    client.write_all(request.as_bytes()).await.unwrap();
    let id = peer.forward().await.proxy_id;

    let thief = connect_from("127.0.0.2:0", public.listen()).await;
    assert_closed(link::data(thief, &id).await).await;
    assert_eq!(public.metrics().await.value(UNEXPECTED, &[]), 1.0);

    let mut data = link::data(connect(public.listen()).await, &id).await;
    let mut head = vec![0; request.len()];
    data.read_exact(&mut head).await.unwrap();
    assert_eq!(head, request.as_bytes());

    // The id is used up now: a second DATA does not disturb the first.
    assert_closed(link::data(connect(public.listen()).await, &id).await).await;
    data.write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    drop(data);
    assert_eq!(client::last_answer(&mut client).await.status, 204);
    drop(client);

    let metrics = public.quiet().await;
    assert_eq!(metrics.value(UNEXPECTED, &[]), 2.0);
    assert_eq!(metrics.value(MATCHED, &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
}

/// In one segment, byte by byte, and in two segments cut at every place.
#[tokio::test]
async fn payload_is_not_lost_however_it_comes_with_the_data_line() {
    let public = listening("").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    let line = "DATA:0123456789abcdef0123456789abcdef\n".len();
    let cuts = (1..line + 12).map(|cut| vec![cut]);
    let ways: Vec<Vec<usize>> =
        [vec![], (1..line + 40).collect()].into_iter().chain(cuts).collect();
    for cuts in &ways {
        let mut client = connect(public.listen()).await;
        client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
        let id = peer.forward().await.proxy_id;
        let mut data = connect(public.listen()).await;
        data.set_nodelay(true).unwrap();
        let all = format!("DATA:{id}\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        let ends = cuts.iter().copied().chain([all.len()]);
        let mut begin = 0;
        for end in ends {
            data.write_all(&all.as_bytes()[begin..end]).await.unwrap();
            tokio::task::yield_now().await;
            begin = end;
        }
        data.shutdown().await.unwrap();
        assert_eq!(client::last_answer(&mut client).await.text(), "early", "{cuts:?}");
    }
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), ways.len() as f64);
}

#[tokio::test]
async fn an_id_that_timed_out_is_unexpected() {
    let public = listening("--data-timeout 50ms").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    let answer = tokio::spawn(client_get(public.listen()));
    let id = peer.forward().await.proxy_id;
    assert_eq!(answer.await.unwrap(), 504);
    assert_closed(link::data(connect(public.listen()).await, &id).await).await;
    let metrics = public.quiet().await;
    assert_eq!(metrics.value(UNEXPECTED, &[]), 1.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_timeout_total", &[]), 1.0);
    assert_eq!(metrics.value(MATCHED, &[]), 0.0);
}

async fn client_get(to: std::net::SocketAddr) -> u16 {
    client::get(to, "/", NAME).await.status
}

#[tokio::test]
async fn a_client_that_leaves_while_pending_leaks_nothing() {
    let public = listening("").await;
    let mut peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    let mut client = connect(public.listen()).await;
    client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
    let id = peer.forward().await.proxy_id;
    ops_proxy_tests::backend::reset(client);
    // The slot is given back at once. The dialled-back connection is closed, and it was
    // asked for: nobody is woken for it.
    public
        .until("its slot", |metrics| {
            metrics.value("ops_proxy_pending_data_connections", &[]) == 0.0
        })
        .await;
    let mut data = link::data(connect(public.listen()).await, &id).await;
    while data.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    let metrics = public.quiet().await;
    let value = |family| metrics.value(family, &[]);
    assert_eq!(value("ops_proxy_requests_total"), 1.0);
    assert_eq!(value("ops_proxy_requests_failed_total"), 1.0);
    assert_eq!((value(MATCHED), value(UNEXPECTED)), (0.0, 0.0));
    let errors = [("client_name", NAME), ("reason", "client_reset")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &errors), 1.0);
}
