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
    for path in Path::ALL {
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

/// As large as post-quantum key shares make a hello, and larger; cut into records
/// and segments that have nothing to do with each other.
#[tokio::test]
async fn a_large_hello_in_any_records_and_segments_reaches_the_backend_unchanged() {
    for path in Path::ALL {
        let echo = Backend::echo().await;
        let mesh = Mesh::serving(path, echo.addr(), "").await;
        let name = hello::server_names(&[NAME.as_bytes()]);
        let smallest = hello::message(&[name.clone(), (51, vec![])]).len();
        let mut hellos = 0.0;
        for length in [1_700, 4_000, 16 * 1024] {
            // key_share, which holds the public keys (RFC 8446 §4.2.8).
            let key_share = (51, vec![0x5a; length - smallest]);
            let message = hello::message(&[name.clone(), key_share]);
            assert_eq!(message.len(), length);
            for records in [&[16 * 1024][..], &[1_000], &[517, 40, 300]] {
                let bytes = hello::records(&message, records);
                for segment in [1_448, 97] {
                    let mut stream = connect(mesh.addr()).await;
                    stream.set_nodelay(true).unwrap();
                    for part in bytes.chunks(segment) {
                        stream.write_all(part).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    stream.shutdown().await.unwrap();
                    let echoed = client::to_end(&mut stream).await.unwrap();
                    assert!(echoed == bytes, "{path:?}: {length} in {records:?}, {segment}");
                    hellos += 1.0;
                }
            }
        }
        let metrics = mesh.public.quiet().await;
        let https = [("client_name", NAME), ("protocol", "https")];
        assert_eq!(metrics.value("ops_proxy_requests_success_total", &https), hellos);
    }
}

/// The name that a hello with an encrypted one inside shows to everybody is the
/// one that counts; what no one knows, GREASE (RFC 8701), is passed over.
#[tokio::test]
async fn grease_is_passed_over_and_the_outer_name_routes() {
    let echo = Backend::echo().await;
    let mesh = Mesh::serving(Path::Tunnelled, echo.addr(), "").await;
    let extensions = [
        (0x0a0a, vec![]),
        (0xfe0d, b"\0\0\x01\0\x01inner.example, encrypted".to_vec()),
        hello::server_names(&[NAME.as_bytes()]),
        (0xfafa, vec![0]),
    ];
    let bytes = hello::records(&hello::message(&extensions), &[16 * 1024]);
    let mut stream = connect(mesh.addr()).await;
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(client::to_end(&mut stream).await.unwrap() == bytes);
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

/// Sends `bytes` and returns what the answer is: one alert and a clean end, or
/// a closed connection. It is counted once, for `reason`, and routed nowhere.
async fn refused(mesh: &Mesh, backend: &Backend, bytes: &[u8], reason: &str) -> Vec<u8> {
    let labels = [("reason", reason)];
    let count = async || mesh.public.metrics().await.value("ops_proxy_rejected_total", &labels);
    let before = count().await;
    let mut stream = connect(mesh.addr()).await;
    stream.write_all(bytes).await.unwrap();
    let answer = client::to_end(&mut stream).await.unwrap_or_default();
    let metrics = mesh.public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &labels), before + 1.0, "{reason}");
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0, "{reason}");
    assert_eq!(backend.accepted(), 0, "there is no default route");
    answer
}

/// The description in an alert record of level fatal (RFC 8446 §6).
fn described(alert: &[u8]) -> u8 {
    assert_eq!(alert.len(), 7, "an alert record, not {alert:02x?}");
    assert_eq!((alert[0], alert[5]), (0x15, 2), "{alert:02x?}");
    alert[6]
}

#[tokio::test]
async fn a_lying_overlong_or_ancient_hello_is_refused_and_never_routed() {
    let backend = Backend::echo().await;
    let mesh = Mesh::serving(Path::Local, backend.addr(), "").await;
    let name = hello::server_names(&[NAME.as_bytes()]);
    let mut lying = hello::first_bytes(NAME);
    // The length of the session id, which the hello does not hold.
    lying[43] = 0xff;
    let overlong = hello::message(&[name, (51, vec![0; 16 * 1024])]);
    let overlong = hello::records(&overlong, &[1_000]);
    let ssl_2 = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
    for bytes in [&lying[..], &overlong, &ssl_2] {
        let answer = refused(&mesh, &backend, bytes, "bad_client_hello").await;
        // SSLv2 knows no alerts; whoever speaks it is past help.
        if bytes[0] == 0x16 {
            assert_eq!(described(&answer), u8::from(AlertDescription::DecodeError));
        }
    }
}

#[tokio::test]
async fn a_server_name_that_is_absent_or_no_one_name_is_refused_with_an_alert() {
    let backend = Backend::echo().await;
    let mesh = Mesh::serving(Path::Local, backend.addr(), "").await;
    let nul = [NAME.as_bytes(), b"\0.evil.example"].concat();
    for (extensions, reason, alert) in [
        (vec![], "no_sni", AlertDescription::MissingExtension),
        (vec![hello::server_names(&[b"192.0.2.1"])], "bad_sni", AlertDescription::IllegalParameter),
        (vec![hello::server_names(&[&nul])], "bad_sni", AlertDescription::IllegalParameter),
        (
            vec![hello::server_names(&[NAME.as_bytes(), NAME.as_bytes()])],
            "bad_sni",
            AlertDescription::IllegalParameter,
        ),
        (
            vec![hello::server_names(&[NAME.as_bytes()]), hello::server_names(&[NAME.as_bytes()])],
            "bad_sni",
            AlertDescription::IllegalParameter,
        ),
    ] {
        let bytes = hello::records(&hello::message(&extensions), &[16 * 1024]);
        let answer = refused(&mesh, &backend, &bytes, reason).await;
        assert_eq!(described(&answer), u8::from(alert), "{extensions:?}");
    }
}
