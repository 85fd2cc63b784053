//! HTTP/2 in clear text, routed by `:authority`.

pub(crate) mod grpc;

use std::process::Command;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{Mesh, NAME, Path, connecting, listening};

const ONE: &str = "one.example";
const TWO: &str = "two.example";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

/// `GET /` on a stream, whole.
fn request(stream: u8, authority: &str) -> Vec<u8> {
    let length = authority.len() as u8;
    let head = [0, 0, 5 + length, 1, 5, 0, 0, 0, stream, 0x82, 0x84, 0x86, 0x01, length];
    [&head[..], authority.as_bytes()].concat()
}

/// Two names on two backends behind one peer.
async fn two(one: &Backend, two: &Backend) -> (Peer, Peer) {
    let hub = listening("").await;
    let services = format!("--service {ONE}={} --service {TWO}={}", one.addr(), two.addr());
    let site = connecting(hub.listen(), &services).await;
    hub.serves(&[ONE, TWO]).await;
    (hub, site)
}

#[tokio::test]
async fn grpc_goes_by_authority() {
    let (one, other) = (grpc::backend("one").await, grpc::backend("two").await);
    let (hub, _site) = two(&one, &other).await;
    for (name, id) in [(ONE, "one"), (TWO, "two")] {
        let mut client = grpc::Client::dial(hub.listen(), name).await;
        assert_eq!(client.unary("a").await.unwrap(), format!("{id}:a"));
        assert_eq!(client.client_streaming(&["a", "b", "c"]).await, format!("{id}:abc"));
        assert_eq!(client.server_streaming("x").await, [format!("{id}:x"), format!("{id}:x")]);
        let (sender, messages) = mpsc::channel(1);
        let asking = async {
            sender.send("0".to_owned()).await.unwrap();
            client.both_streaming(ReceiverStream::new(messages)).await
        };
        let mut answers = asking.await;
        for next in 1..4 {
            let answer = within("an answer", answers.next()).await.unwrap().unwrap();
            assert_eq!(answer, format!("{id}:{}", next - 1));
            sender.send(next.to_string()).await.unwrap();
        }
        drop(sender);
        assert_eq!(answers.next().await.unwrap().unwrap(), format!("{id}:3"));
        assert!(answers.next().await.is_none());
        let large = "x".repeat(1 << 20);
        assert_eq!(client.unary(&large).await.unwrap(), format!("{id}:{large}"));
    }
    let metrics = hub.quiet().await;
    for name in [ONE, TWO] {
        let labels = [("client_name", name), ("protocol", "http")];
        assert_eq!(metrics.value("ops_proxy_requests_total", &labels), 1.0, "{name}");
    }
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 2.0);
}

#[tokio::test]
async fn grpc_clients_are_told_why_they_are_not_served() {
    let hub = listening(&format!("--service {NAME}={}", backend::refusing().1)).await;
    hub.serves(&[NAME]).await;
    let mut unknown = grpc::Client::dial(hub.listen(), "unknown.example").await;
    assert_eq!(unknown.unary("a").await.unwrap_err().code(), Code::Unimplemented);
    let mut refused = grpc::Client::dial(hub.listen(), NAME).await;
    assert_eq!(refused.unary("a").await.unwrap_err().code(), Code::Unavailable);
    let mut stream = connect(hub.listen()).await;
    let bytes = [PREFACE, SETTINGS, &request(3, "unknown.example")].concat();
    stream.write_all(&bytes).await.unwrap();
    let answer = client::to_end(&mut stream).await.unwrap();
    let head = b"\0\0\x05\x01\x05\0\0\0\x03\x08\x03404";
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0";
    assert_eq!(answer, [SETTINGS, ACK, head, goaway].concat());
}

#[tokio::test]
async fn a_request_for_another_name_reaches_no_backend() {
    let (seen, mut heard) = mpsc::unbounded_channel();
    let one = Backend::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                let _ = seen.send(bytes.clone());
            }
            drop(seen);
        }
    })
    .await;
    let other = grpc::backend("two").await;
    let (hub, _site) = two(&one, &other).await;
    let first = [PREFACE, SETTINGS, &request(1, ONE)].concat();
    for split in [true, false] {
        let mut stream = connect(hub.listen()).await;
        stream.write_all(&first).await.unwrap();
        if split {
            while within("the request at its backend", heard.recv()).await.unwrap() != first {}
        }
        stream.write_all(&request(3, TWO)).await.unwrap();
        // Reset, or ended before anything came.
        let end = client::to_end(&mut stream).await;
        assert!(end.is_err() || end.is_ok_and(|bytes| bytes.is_empty()));
    }
    let metrics = hub.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_h2")]), 2.0);
    assert_eq!(metrics.value("ops_proxy_requests_failed_total", &[]), 2.0);
    assert_eq!(other.accepted(), 0);
    drop((hub, one));
    while let Some(bytes) = heard.recv().await {
        assert!(first.starts_with(&bytes), "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn a_client_may_wait_for_settings_before_it_asks() {
    let (listener, addr) = backend::listener().await;
    let mesh = Mesh::serving(Path::Tunnelled, addr, "").await;
    let mut stream = connect(mesh.addr()).await;
    let opening = [PREFACE, SETTINGS].concat();
    stream.write_all(&opening).await.unwrap();
    let mut greeting = [0; SETTINGS.len()];
    within("the greeting", stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(greeting, SETTINGS);
    stream.write_all(&[ACK, &request(1, NAME), ACK].concat()).await.unwrap();
    let mut backend = backend::accept(&listener).await;
    // The first acknowledgement was for the peer, the second is not.
    let expected = [&opening[..], &request(1, NAME), ACK].concat();
    let mut arrived = vec![0; expected.len()];
    within("the request", backend.read_exact(&mut arrived)).await.unwrap();
    assert_eq!(arrived.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[tokio::test]
async fn curl_is_served_over_http2() {
    let backend = Backend::start(|stream| async move {
        let service = hyper::service::service_fn(|request| async move {
            let request: hyper::Request<hyper::body::Incoming> = request;
            let said = format!("{} {}", request.method(), request.uri());
            Ok::<_, std::convert::Infallible>(hyper::Response::new(said))
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let server = hyper::server::conn::http2::Builder::new(executor);
        let _ = server.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
    })
    .await;
    for path in Path::ALL {
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let port = mesh.addr().port();
        let curl = tokio::task::spawn_blocking(move || {
            let url = format!("http://{NAME}:{port}/path");
            let resolve = format!("{NAME}:{port}:127.0.0.1");
            let arguments = ["-sS", "--max-time", "20", "--http2-prior-knowledge"];
            Command::new("curl").args(arguments).args(["--resolve", &resolve, &url]).output()
        });
        let output = curl.await.unwrap().expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
        let said = format!("GET http://{NAME}:{port}/path");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    }
}
