//! TLS by SNI, passed through unread.

use std::io;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::hello;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{AlertDescription, Error};

use crate::{Mesh, NAME, Path, listening};

#[tokio::test]
async fn the_client_sees_the_backends_certificate_and_protocol() {
    for path in Path::BOTH {
        let (backend, certificate) = Backend::tls(NAME, &["h2", "http/1.1"]).await;
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let config = hello::config(std::slice::from_ref(&certificate), &["http/1.1"]);
        let mut stream = hello::handshake(mesh.addr(), NAME, config).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.peer_certificates(), Some(&[certificate][..]));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        stream.write_all(b"through").await.unwrap();
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"through");
        stream.shutdown().await.unwrap();
        assert_eq!(client::to_end(&mut stream).await.unwrap(), b"");
        drop(stream);
        let metrics = mesh.public.quiet().await;
        let https = [("client_name", NAME), ("protocol", "https")];
        assert_eq!(metrics.value("ops_proxy_requests_total", &https), 1.0);
        assert_eq!(metrics.value("ops_proxy_requests_success_total", &https), 1.0);
    }
}

#[tokio::test]
async fn a_hello_in_one_byte_writes_reaches_the_backend_unchanged() {
    let echo = Backend::echo().await;
    let mesh = Mesh::serving(Path::Tunnelled, echo.addr(), "").await;
    let bytes = hello::first_bytes(NAME);
    let mut stream = connect(mesh.addr()).await;
    stream.set_nodelay(true).unwrap();
    for byte in &bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.shutdown().await.unwrap();
    assert_eq!(client::to_end(&mut stream).await.unwrap(), bytes);
}

/// The alert that a handshake failed with.
fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_unrecognized_name() {
    let public = listening("").await;
    let config = hello::config(&[], &[]);
    let error = hello::handshake(public.listen(), "nobody.example", config).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error}");
    let metrics = public.quiet().await;
    let unknown = [("client_name", "_other"), ("reason", "no_client")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &unknown), 1.0);
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0);
}

#[tokio::test]
async fn a_hello_without_a_name_is_refused_with_an_alert() {
    let backend = Backend::echo().await;
    let mesh = Mesh::serving(Path::Local, backend.addr(), "").await;
    let config = hello::config(&[], &[]);
    // An IP address stands in no SNI (RFC 6066 §3).
    let error = hello::handshake(mesh.addr(), "127.0.0.1", config).await.unwrap_err();
    assert!(alert(&error).is_some(), "{error}");
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "no_sni")]), 1.0);
    assert_eq!(backend.accepted(), 0, "there is no default route");
}

#[tokio::test]
async fn a_lying_hello_is_refused_and_never_routed() {
    let backend = Backend::echo().await;
    let mesh = Mesh::serving(Path::Local, backend.addr(), "").await;
    let mut bytes = hello::first_bytes(NAME);
    // The length of the session id, which the hello does not hold.
    bytes[43] = 0xff;
    let mut stream = connect(mesh.addr()).await;
    stream.write_all(&bytes).await.unwrap();
    let alert = client::to_end(&mut stream).await.unwrap();
    assert_eq!(alert.first(), Some(&0x15), "an alert record, not {alert:02x?}");
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &[("reason", "bad_client_hello")]), 1.0);
    assert_eq!(backend.accepted(), 0);
}
