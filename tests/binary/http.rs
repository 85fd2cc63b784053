//! HTTP/1.1 by Host.

use http_body_util::BodyExt;
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::payload::{Digester, Payload};
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::{Mesh, NAME, Path, listening};

const HUNDRED_MIB: usize = 100 * 1024 * 1024;

#[tokio::test]
async fn requests_on_one_connection_count_as_one_and_stay_in_order() {
    let backend = Backend::http().await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.addr()).await;
    for path in ["/first", "/second", "/third"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: App.Example.:80\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = client::next_answer(&mut stream).await;
        assert_eq!(answer.text(), format!("GET {path}\nApp.Example.:80\n"));
    }
    // Pipelined: all three are sent before the first answer is read.
    let pipelined = ["/a", "/b", "/c"].map(|path| client::get_request(path, NAME)).concat();
    let pipelined = pipelined.replacen("Connection: close\r\n", "", 2);
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    for path in ["/a", "/b"] {
        let answer = client::next_answer(&mut stream).await;
        assert_eq!(answer.text(), format!("GET {path}\n{NAME}\n"));
    }
    assert_eq!(client::last_answer(&mut stream).await.text(), format!("GET /c\n{NAME}\n"));
    drop(stream);

    let metrics = mesh.public.quiet().await;
    let http = [("client_name", NAME), ("protocol", "http")];
    assert_eq!(metrics.value("ops_proxy_requests_total", &http), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &http), 1.0);
    assert_eq!(metrics.value("ops_proxy_connections_total", &[("client_name", NAME)]), 1.0);
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn a_chunked_upload_and_a_chunked_answer_arrive_whole() {
    let backend = Backend::http().await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.addr()).await;
    let head =
        format!("POST /sha256 HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut upload = Payload::new(1, 300_001);
    while let Some(chunk) = upload.next_chunk() {
        let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = client::next_answer(&mut stream).await;
    assert_eq!(answer.text(), Payload::new(1, 300_001).sha256());

    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get("/chunked/200003").header("host", NAME);
    let answer = sender.send_request(request.body(String::new()).unwrap());
    let answer = within("an answer", answer).await.unwrap();
    assert_eq!(answer.headers()["transfer-encoding"], "chunked");
    let body = within("a body", answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(body == Payload::new(200_003, 200_003).bytes(), "the body differs");
    drop(sender);
    connection.await.unwrap().unwrap();
}

/// The bytes of head and body together are what the metrics count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_each_way_arrive_unchanged_and_are_counted_exactly() {
    let (listener, addr) = backend::listener().await;
    let mesh = Mesh::serving(Path::Tunnelled, addr, "").await;
    let request_head =
        format!("POST /up HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {HUNDRED_MIB}\r\n\r\n");
    let answer_head = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUNDRED_MIB}\r\n\r\n");

    let (request_head_length, sent_head) = (request_head.len(), answer_head.clone());
    let served = tokio::spawn(async move {
        let (mut reader, mut writer) = backend::accept(&listener).await.into_split();
        let answering = tokio::spawn(async move {
            writer.write_all(sent_head.as_bytes()).await.unwrap();
            Payload::new(2, HUNDRED_MIB).send(&mut writer).await.unwrap();
        });
        let mut head = vec![0; request_head_length];
        reader.read_exact(&mut head).await.unwrap();
        let mut uploaded = Digester::default();
        uploaded.take(&mut reader, HUNDRED_MIB).await.unwrap();
        answering.await.unwrap();
        (head, uploaded.hex())
    });

    let (mut reader, mut writer) = connect(mesh.addr()).await.into_split();
    let sent_head = request_head.clone();
    let uploading = tokio::spawn(async move {
        writer.write_all(sent_head.as_bytes()).await.unwrap();
        Payload::new(1, HUNDRED_MIB).send(&mut writer).await.unwrap();
        writer
    });
    let mut head = vec![0; answer_head.len()];
    reader.read_exact(&mut head).await.unwrap();
    assert_eq!(head, answer_head.as_bytes());
    let mut downloaded = Digester::default();
    within("the download", downloaded.take(&mut reader, HUNDRED_MIB)).await.unwrap();
    assert_eq!(downloaded.length(), HUNDRED_MIB);
    assert_eq!(downloaded.hex(), Payload::new(2, HUNDRED_MIB).sha256());
    drop(uploading.await.unwrap());
    let (head, uploaded) = within("the upload", served).await.unwrap();
    assert_eq!(head, request_head.as_bytes());
    assert_eq!(uploaded, Payload::new(1, HUNDRED_MIB).sha256());
    assert_eq!(client::to_end(&mut reader).await.unwrap(), b"");

    let metrics = mesh.public.quiet().await;
    let name = [("client_name", NAME)];
    let tx = (request_head.len() + HUNDRED_MIB) as f64;
    let rx = (answer_head.len() + HUNDRED_MIB) as f64;
    assert_eq!(metrics.value("ops_proxy_connections_bytes_tx_total", &name), tx);
    assert_eq!(metrics.value("ops_proxy_connections_bytes_rx_total", &name), rx);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &name), 1.0);
}

#[tokio::test]
async fn bytes_are_counted_while_they_stream() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let mut client = connect(mesh.addr()).await;
        let request = client::get_request("/", NAME);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut backend = backend::accept(&listener).await;
        backend.read_exact(&mut vec![0; request.len()]).await.unwrap();
        backend.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0; 19]).await.unwrap();
        let name = [("client_name", NAME)];
        mesh.public
            .until("the bytes of a running request", |metrics| {
                metrics.value("ops_proxy_connections_bytes_tx_total", &name) == request.len() as f64
                    && metrics.value("ops_proxy_connections_bytes_rx_total", &name) == 19.0
                    && metrics.value("ops_proxy_connections_active", &name) == 1.0
            })
            .await;
    }
}

#[tokio::test]
async fn a_websocket_upgrade_carries_any_bytes_afterwards() {
    for path in Path::ALL {
        let upgraded = Backend::start(|mut stream| async move {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            client::raw_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        })
        .await;
        let mesh = Mesh::serving(path, upgraded.addr(), "").await;
        let mut stream = connect(mesh.addr()).await;
        let request = format!(
            "GET /chat HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = client::head(&mut stream).await;
        assert_eq!(answer.status, 101);
        assert_eq!(answer.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // A masked text frame "Hello" (RFC 6455 §5.7), a ping, and any bytes at all.
        let frames = [
            &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..],
            b"\x89\x80\0\0\0\0",
            &(0..=255).collect::<Vec<u8>>(),
        ];
        for frame in frames {
            stream.write_all(frame).await.unwrap();
            let mut echo = vec![0; frame.len()];
            within("the echo", stream.read_exact(&mut echo)).await.unwrap();
            assert_eq!(echo, frame);
        }
        stream.shutdown().await.unwrap();
        assert_eq!(client::to_end(&mut stream).await.unwrap(), b"");
        let metrics = mesh.public.quiet().await;
        assert_eq!(metrics.value("ops_proxy_requests_success_total", &[("protocol", "http")]), 1.0);
    }
}

#[tokio::test]
async fn a_head_in_one_byte_writes_takes_the_same_way() {
    let backend = Backend::http().await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut stream = connect(mesh.addr()).await;
    stream.set_nodelay(true).unwrap();
    for byte in client::get_request("/slowly", NAME).bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client::last_answer(&mut stream).await.text(), format!("GET /slowly\n{NAME}\n"));
    drop(stream);
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[("protocol", "http")]), 1.0);
}

#[tokio::test]
async fn any_method_is_routed_by_host() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service *.example={}", backend.addr())).await;
    for method in ["PUT", "PATCH", "REPORT", "BREW"] {
        let request = format!(
            "{method} /x HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = client::exchange(public.listen(), request.as_bytes()).await;
        assert_eq!(answer.text(), format!("{method} /x\nany.example\n"));
    }
    let metrics = public.quiet().await;
    let wildcard = [("client_name", "*.example"), ("protocol", "http")];
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &wildcard), 4.0);
}

/// All of them are in flight before the first is answered: a link that carried
/// one request at a time would answer none.
#[tokio::test]
async fn fifty_requests_over_one_link_are_in_flight_together() {
    let backend = Backend::rendezvous(50).await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let addr = mesh.addr();
    let requests: JoinSet<_> =
        (0..50).map(|_| async move { client::get(addr, "/", NAME).await }).collect();
    for answer in within("fifty answers", requests.join_all()).await {
        assert_eq!(answer.text(), "met");
    }
    let metrics = mesh.public.quiet().await;
    let name = [("client_name", NAME)];
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &name), 50.0);
    assert_eq!(metrics.value("ops_proxy_forward_commands_total", &name), 50.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_matched_total", &name), 50.0);
}
