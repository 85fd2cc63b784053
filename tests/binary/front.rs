//! TLS of the public that ends at the listening peer.

use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::hello;
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::h2::grpc;
use crate::{NAME, connecting, launch, listening};

const OTHER: &str = "other.example";

/// Certificates in a directory, and those who trust them.
struct Certificates {
    directory: TempDir,
    roots: Vec<CertificateDer<'static>>,
}

impl Certificates {
    fn for_names(names: &[&str]) -> Self {
        let mut certificates = Self { directory: tempfile::tempdir().unwrap(), roots: Vec::new() };
        certificates.write("front.pem", "front.key", names);
        certificates
    }

    fn write(&mut self, chain: &str, key: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let path = self.directory.path();
        std::fs::create_dir_all(path.join(chain).parent().unwrap()).unwrap();
        std::fs::write(path.join(chain), cert.pem()).unwrap();
        std::fs::write(path.join(key), signing_key.serialize_pem()).unwrap();
        self.roots.push(cert.der().clone());
    }

    fn args(&self) -> String {
        format!("--public-cert {}", self.directory.path().display())
    }

    fn path(&self) -> &FilePath {
        self.directory.path()
    }
}

/// A hub that ends the TLS of these certificates, and a site that serves [`NAME`].
async fn served(certificates: &Certificates, args: &str, backend: &Backend) -> (Peer, Peer) {
    let hub = listening(&format!("{} {args}", certificates.args())).await;
    let site = connecting(hub.listen(), &format!("--service {NAME}={}", backend.addr())).await;
    hub.serves(&[NAME]).await;
    (hub, site)
}

#[tokio::test]
async fn requests_within_tls_are_routed_like_those_in_clear_text() {
    let (listener, addr) = backend::listener().await;
    let certificates = Certificates::for_names(&[NAME]);
    let hub = listening(&certificates.args()).await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={addr}")).await;
    hub.serves(&[NAME]).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let mut roots = RootCertStore::empty();
        roots.add(certificates.roots[0].clone()).unwrap();
        let config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut stream = hello::handshake(hub.listen(), NAME, Arc::new(config)).await.unwrap();
        stream
            .write_all(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut backend = backend::accept(&listener).await;
        let head = String::from_utf8(client::raw_head(&mut backend).await).unwrap();
        assert!(head.contains("\r\nX-Forwarded-Proto: https\r\n"), "{head}");
        backend.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.text(), "hi");
        // A name that the certificate is not for, and the first again.
        let other = format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n");
        stream.write_all(other.as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 421);
        // An upgrade: what follows it is bytes.
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut backend = backend::accept(&listener).await;
        client::raw_head(&mut backend).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        backend.write_all(switch).await.unwrap();
        assert_eq!(client::head(&mut stream).await.status, 101);
        for (from, to) in [(b"ping", b"pong"), (b"here", b"back")] {
            let mut bytes = [0; 4];
            stream.write_all(from).await.unwrap();
            backend.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, from);
            backend.write_all(to).await.unwrap();
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, to);
        }
    }
    let metrics = hub.metrics().await;
    let requests = |protocol| {
        let labels = [("client_name", NAME), ("protocol", protocol)];
        metrics.value("ops_proxy_requests_total", &labels)
    };
    assert_eq!((requests("https"), requests("http")), (4.0, 0.0));
}

/// Events of an answer without an end come one by one.
#[tokio::test]
async fn server_sent_events_are_not_held_back() {
    let (listener, addr) = backend::listener().await;
    let certificates = Certificates::for_names(&[NAME, OTHER]);
    let hub = listening(&certificates.args()).await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={addr}")).await;
    hub.serves(&[NAME]).await;
    let config = hello::config(&certificates.roots, &["http/1.1"]);
    let mut stream = hello::handshake(hub.listen(), NAME, config).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    let mut backend = backend::accept(&listener).await;
    client::raw_head(&mut backend).await;
    backend.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 200);
    for event in [&b"data: 1\n\n"[..], b"data: 2\n\n", b"data: 3\n\n"] {
        backend.write_all(event).await.unwrap();
        let mut read = vec![0; event.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, event);
    }
}

#[tokio::test]
async fn a_name_without_a_certificate_passes_through() {
    let certificates = Certificates::for_names(&[NAME]);
    let (inner, root) = Backend::tls(OTHER, &[]).await;
    let hub = listening(&certificates.args()).await;
    let _site = connecting(hub.listen(), &format!("--service {OTHER}={}", inner.addr())).await;
    hub.serves(&[OTHER]).await;
    let config = hello::config(&[root], &[]);
    let mut stream = hello::handshake(hub.listen(), OTHER, config).await.unwrap();
    stream.write_all(b"end to end").await.unwrap();
    let mut echo = [0; 10];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"end to end");
}

#[tokio::test]
async fn http2_is_offered_where_the_backend_speaks_it() {
    let backend = Backend::start(|stream| async move {
        let service = hyper::service::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(hyper::Response::new("from h2".to_owned()))
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let server = hyper::server::conn::http2::Builder::new(executor);
        let _ = server.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
    })
    .await;
    let certificates = Certificates::for_names(&[NAME, OTHER]);
    let hub = listening(&certificates.args()).await;
    let older = Backend::http().await;
    let table = |name, backend: &Backend, h2c| {
        let addr = backend.addr();
        format!("[[service]]\nname = '{name}'\nbackend = '{addr}'\nh2c = {h2c}\n")
    };
    let file = certificates.path().join("site.toml");
    let tables = table(NAME, &backend, true) + &table(OTHER, &older, false);
    std::fs::write(&file, tables).unwrap();
    let _site = connecting(hub.listen(), &format!("--config {}", file.display())).await;
    hub.serves(&[NAME, OTHER]).await;
    let (port, root) = (hub.listen().port(), certificates.path().join("front.pem"));
    for (name, said) in [(NAME, "2 200"), (OTHER, "1.1 200")] {
        let root = root.clone();
        let curl = tokio::task::spawn_blocking(move || {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "20", "--http2", "--cacert"]).arg(root);
            curl.args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"]);
            curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
            curl.arg(format!("https://{name}:{port}/")).output()
        });
        let output = curl.await.unwrap().expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    }
}

#[tokio::test]
async fn grpc_goes_through_tls_that_ends_at_the_edge() {
    let backend = grpc::backend("one").await;
    let certificates = Certificates::for_names(&[NAME]);
    let hub = listening(&certificates.args()).await;
    let file = certificates.path().join("site.toml");
    let table =
        format!("[[service]]\nname = '{NAME}'\nbackend = '{}'\nh2c = true\n", backend.addr());
    std::fs::write(&file, table).unwrap();
    let _site = connecting(hub.listen(), &format!("--config {}", file.display())).await;
    hub.serves(&[NAME]).await;
    let config = hello::config(&certificates.roots, &["h2"]);
    let tls = hello::handshake(hub.listen(), NAME, config).await.unwrap();
    let mut client = grpc::Client::within(tls, NAME).await;
    assert_eq!(client.unary("a").await.unwrap(), "one:a");
    assert_eq!(client.client_streaming(&["a", "b", "c"]).await, "one:abc");
    assert_eq!(client.server_streaming("x").await, ["one:x", "one:x"]);
}

#[tokio::test]
async fn clear_text_is_sent_to_https_where_that_is_wanted() {
    let backend = Backend::http().await;
    let certificates = Certificates::for_names(&[NAME]);
    let (hub, _site) = served(&certificates, "--redirect-https", &backend).await;
    let mut stream = connect(hub.listen()).await;
    for (target, location) in [
        ("/a?b=c", format!("https://{NAME}/a?b=c")),
        (&format!("http://{NAME}/x"), format!("https://{NAME}/x")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = client::next_answer(&mut stream).await;
        assert_eq!((answer.status, answer.field("location")), (308, location.as_str()));
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(client::next_answer(&mut stream).await.status, 404, "no certificate, no redirect");
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let backend = Backend::http().await;
    let mut certificates = Certificates::for_names(&["unused.example"]);
    certificates.write("app/tls.crt", "app/tls.key", &[NAME]);
    let (mut hub, _site) = served(&certificates, "", &backend).await;
    let first = hello::config(&certificates.roots[1..2], &[]);
    hello::handshake(hub.listen(), NAME, first).await.unwrap();
    // Half a rotation changes nothing.
    std::fs::write(certificates.path().join("app/tls.key"), "no key").unwrap();
    hub.process().hang_up();
    hub.until("a failed reload", |m| m.value("ops_proxy_tls_reload_failed_total", &[]) >= 1.0)
        .await;
    certificates.write("app/tls.crt", "app/tls.key", &[NAME]);
    let renewed = hello::config(&certificates.roots[2..], &[]);
    hub.process().hang_up();
    until("the new certificate", async || {
        hello::handshake(hub.listen(), NAME, renewed.clone()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn what_a_client_says_within_tls_opens_no_link() {
    let backend = Backend::http().await;
    let certificates = Certificates::for_names(&[NAME]);
    let (hub, _site) = served(&certificates, "", &backend).await;
    let config = hello::config(&certificates.roots, &[]);
    let mut stream = hello::handshake(hub.listen(), NAME, config.clone()).await.unwrap();
    stream.write_all(b"HELLO:1:front\nREGISTER:evil.example\n").await.unwrap();
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1)), "no answer");
    // A handshake that fails is counted.
    let stranger = hello::config(&[], &[]);
    hello::handshake(hub.listen(), NAME, stranger).await.unwrap_err();
    let rejected = |reason| [("reason", reason)];
    hub.until("both to be counted", |metrics| {
        let count = |reason| metrics.value("ops_proxy_rejected_total", &rejected(reason));
        count("unknown_protocol") == 1.0 && count("public_tls") == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_of_no_use_is_named() {
    let good = Certificates::for_names(&[NAME]);
    let empty = tempfile::tempdir().unwrap();
    let no_key = Certificates::for_names(&[NAME]);
    std::fs::remove_file(no_key.path().join("front.key")).unwrap();
    let other_key = Certificates::for_names(&[NAME]);
    std::fs::copy(good.path().join("front.key"), other_key.path().join("front.key")).unwrap();
    let mut twice = Certificates::for_names(&[NAME]);
    twice.write("again/tls.crt", "again/tls.key", &[NAME]);
    for (directory, part) in [
        (FilePath::new("/nowhere"), "/nowhere"),
        (empty.path(), "expected NAME.pem with NAME.key"),
        (no_key.path(), "front.key"),
        (other_key.path(), "does not match the certificate"),
        (twice.path(), "has a certificate in"),
    ] {
        let args = format!("check --listen 127.0.0.1:0 --public-cert {}", directory.display());
        let (code, _, stderr) = launch().args(&args).start().output().await;
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("public_cert") && stderr.contains(part), "{stderr}");
    }
    let (code, _, stderr) =
        launch().args("check --listen 127.0.0.1:0 --redirect-https").start().output().await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("redirect_https") && stderr.contains("public_cert"), "{stderr}");
    let args = format!("check --listen 127.0.0.1:0 {}", good.args());
    let (code, stdout, _) = launch().args(&args).start().output().await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("TLS for these names ends here"), "{stdout}");
}
