//! Raw TCP listeners, which route by port and read nothing themselves.

use ops_proxy_tests::backend;
use ops_proxy_tests::client::{self, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{NAME, connecting, listening};

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_before_the_client_says_a_byte() {
    let (listener, addr) = backend::listener().await;
    let public = listening(&format!("--tcp 127.0.0.1:0={NAME}")).await;
    let _behind = connecting(public.listen(), &format!("--service {NAME}={addr}")).await;
    public.serves(&[NAME]).await;

    let mut client = connect(public.tcp()[0]).await;
    let mut backend = backend::accept(&listener).await;
    backend.write_all(b"220 ready\r\n").await.unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");

    // Bytes that would be a request elsewhere are payload here.
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client::to_end(&mut backend).await.unwrap(), b"GET / HTTP/1.1\r\n");
    drop(backend);
    assert_eq!(client::to_end(&mut client).await.unwrap(), b"");

    let metrics = public.quiet().await;
    let tcp = [("client_name", NAME), ("protocol", "tcp")];
    assert_eq!(metrics.value("ops_proxy_requests_total", &tcp), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &tcp), 1.0);
}

#[tokio::test]
async fn a_port_without_provider_closes_and_is_counted() {
    let public = listening(&format!("--tcp 127.0.0.1:0={NAME}")).await;
    // TCP has no words for a refusal: the reset may be quicker than the connect.
    if let Ok(mut client) = TcpStream::connect(public.tcp()[0]).await {
        client::to_end(&mut client).await.unwrap_err();
    }
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &[("reason", "no_client")]), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0);
}
