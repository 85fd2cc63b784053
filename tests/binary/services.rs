//! What a service says about itself: ways, clients, and what its backend learns of them.

use std::net::SocketAddr;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect, connect_from};
use ops_proxy_tests::hello;
use ops_proxy_tests::process::Peer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{NAME, Path, connecting, listening};

/// A hub, and a site that serves what its file says.
struct Served {
    hub: Peer,
    _site: Option<Peer>,
    _directory: TempDir,
}

impl Served {
    async fn new(path: Path, hub: &str, file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("site.toml");
        std::fs::write(&config, file).unwrap();
        let config = format!("--config {}", config.display());
        let (hub, site) = match path {
            Path::Local => (listening(&format!("{hub} {config}")).await, None),
            Path::Tunnelled | Path::Dialled => {
                let hub = listening(hub).await;
                let idle = if matches!(path, Path::Dialled) { "--idle-data 0" } else { "" };
                let site = connecting(hub.listen(), &format!("{config} {idle}")).await;
                (hub, Some(site))
            }
        };
        hub.until("the service", |m| m.value("ops_proxy_clients_connected", &[]) == 1.0).await;
        Self { hub, _site: site, _directory: directory }
    }

    fn addr(&self) -> SocketAddr {
        self.hub.listen()
    }

    async fn rejected(&self, reason: &str) -> f64 {
        let metrics = self.hub.metrics().await;
        metrics.value("ops_proxy_rejected_total", &[("reason", reason)])
    }
}

async fn connect_status(to: SocketAddr) -> u16 {
    client::exchange(to, client::connect_request(NAME).as_bytes()).await.status
}

/// The first bytes of the answer to a ClientHello for [`NAME`].
async fn hello_answer(to: SocketAddr) -> [u8; 7] {
    let mut stream = connect(to).await;
    stream.write_all(&hello::first_bytes(NAME)).await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

fn text(head: Vec<u8>) -> String {
    String::from_utf8(head).unwrap()
}

const ALERT: [u8; 6] = [0x15, 3, 3, 0, 2, 2];

#[tokio::test]
async fn a_service_in_short_form_is_not_reached_by_connect() {
    let backend = Backend::http().await;
    let hub = listening("").await;
    let _site = connecting(hub.listen(), &format!("--service {NAME}={}", backend.addr())).await;
    hub.serves(&[NAME]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    assert_eq!(connect_status(hub.listen()).await, 404);
    let metrics = hub.metrics().await;
    let refused = [("reason", "way_not_offered")];
    assert_eq!(metrics.value("ops_proxy_rejected_total", &refused), 1.0);
    let routed = [("client_name", NAME), ("protocol", "http")];
    assert_eq!(metrics.value("ops_proxy_requests_total", &routed), 1.0);
}

#[tokio::test]
async fn a_service_for_tcp_alone_is_closed_in_every_other_way() {
    let backend = Backend::echo().await;
    let table =
        format!("[[service]]\nname = '{NAME}'\nbackend = '{}'\nways = ['tcp']\n", backend.addr());
    for path in Path::ALL {
        let hub = format!("--tcp 127.0.0.1:0={NAME}");
        let served = Served::new(path, &hub, &table).await;
        let mut mapped = connect(served.hub.tcp()[0]).await;
        client::assert_carries(&mut mapped).await;
        assert_eq!(client::get(served.addr(), "/", NAME).await.status, 404, "{path:?}");
        assert_eq!(connect_status(served.addr()).await, 404);
        let unrecognized_name = [&ALERT[..], &[112]].concat();
        assert_eq!(hello_answer(served.addr()).await[..], unrecognized_name);
        assert_eq!(served.rejected("way_not_offered").await, 3.0);
    }
}

#[tokio::test]
async fn a_listening_peer_may_say_less_than_a_service() {
    let backend = Backend::http().await;
    let service = format!("service = ['{NAME}={0}', '{NAME}/connect={0}']", backend.addr());
    let served = Served::new(Path::Tunnelled, "--ways tcp,connect", &service).await;
    assert_eq!(client::get(served.addr(), "/", NAME).await.status, 404);
    let mut stream = connect(served.addr()).await;
    stream.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
    assert_eq!(client::head(&mut stream).await.status, 200);
    assert_eq!(served.rejected("way_not_offered").await, 1.0);
}

#[tokio::test]
async fn each_way_may_have_a_backend_of_its_own() {
    let (clear, secure) = (Backend::named("clear").await, backend::listener().await);
    let service = format!("service = ['{NAME}={}', '{NAME}/https={}']", clear.addr(), secure.1);
    for path in Path::ALL {
        let served = Served::new(path, "", &service).await;
        assert_eq!(
            client::get(served.addr(), "/", NAME).await.field("x-backend"),
            "clear",
            "{path:?}"
        );
        let mut stream = connect(served.addr()).await;
        let hello = hello::first_bytes(NAME);
        stream.write_all(&hello).await.unwrap();
        let mut read = vec![0; hello.len()];
        accepted(&secure.0).await.read_exact(&mut read).await.unwrap();
        assert_eq!(read, hello, "{path:?}");
    }
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    backend::accept(listener).await
}

#[tokio::test]
async fn only_clients_of_the_allowed_networks_reach_a_service() {
    let backend = Backend::http().await;
    let table = |net: &str| {
        let addr = backend.addr();
        format!("[[service]]\nname = '{NAME}'\nbackend = '{addr}'\nallow = ['{net}', '::1']\n")
    };
    for path in Path::ALL {
        let served = Served::new(path, "", &table("127.0.0.0/8")).await;
        assert_eq!(client::get(served.addr(), "/", NAME).await.status, 200, "{path:?}");
        let served = Served::new(path, "", &table("10.0.0.0/8")).await;
        assert_eq!(client::get(served.addr(), "/", NAME).await.status, 403, "{path:?}");
        let access_denied = [&ALERT[..], &[49]].concat();
        assert_eq!(hello_answer(served.addr()).await[..], access_denied);
        assert_eq!(served.rejected("not_allowed").await, 2.0);
        let routed = [("client_name", NAME), ("protocol", "http")];
        assert_eq!(served.hub.metrics().await.value("ops_proxy_requests_total", &routed), 0.0);
    }
}

/// In and out compose: the client that a trusted proxy speaks for is the one that counts.
#[tokio::test]
async fn a_header_of_the_proxy_protocol_names_the_client_to_the_backend() {
    let (listener, addr) = backend::listener().await;
    for (path, version) in Path::ALL.into_iter().flat_map(|path| [(path, "v1"), (path, "v2")]) {
        let table = format!(
            "[[service]]\nname = '*.example'\nbackend = '{addr}'\nproxy_protocol = '{version}'\n\
             allow = ['192.0.2.0/24']\nforwarded = false\n"
        );
        let hub = "--trusted-proxies 127.0.0.9";
        let served = Served::new(path, hub, &table).await;
        let mut stream = connect_from("127.0.0.9:0", served.addr()).await;
        let head = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";
        let sent = format!("PROXY TCP4 192.0.2.7 198.51.100.1 5555 80\r\n{head}");
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut backend = accepted(&listener).await;
        let header = match version {
            "v1" => b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 80\r\n".to_vec(),
            _ => [
                &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1a"[..],
                &[192, 0, 2, 7, 198, 51, 100, 1, 0x15, 0xb3, 0, 80],
                &[2, 0, 11],
                b"www.example",
            ]
            .concat(),
        };
        let mut read = vec![0; header.len() + head.len()];
        backend.read_exact(&mut read).await.unwrap();
        let expected = [&header[..], head.as_bytes()].concat();
        assert_eq!(read, expected, "{path:?} {}", read.escape_ascii());
    }
}

/// What a stranger claims to be is not passed on; each request has an id of its own.
#[tokio::test]
async fn a_backend_learns_who_the_client_is() {
    let (listener, addr) = backend::listener().await;
    for path in Path::ALL {
        let served = Served::new(path, "", &format!("service = ['{NAME}={addr}']")).await;
        let mut stream = connect(served.addr()).await;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {NAME}:80\r\nX-Forwarded-For: 10.0.0.1\r\n\
             X-Request-Id: mine\r\nContent-Length: 3\r\n\r\nabc"
        );
        // Two at once, and one later.
        stream.write_all(request.repeat(2).as_bytes()).await.unwrap();
        let mut backend = accepted(&listener).await;
        let mut ids = Vec::new();
        for nth in 1..=3 {
            let head = text(client::raw_head(&mut backend).await);
            let mut body = [0; 3];
            backend.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"abc");
            let (before, id) = head.split_once("X-Request-Id: ").unwrap();
            assert_eq!(
                before,
                format!(
                    "POST / HTTP/1.1\r\nHost: {NAME}:80\r\nContent-Length: 3\r\n\
                     X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
                     X-Forwarded-Host: {NAME}:80\r\n\
                     Forwarded: for=127.0.0.1;host=\"{NAME}:80\";proto=http\r\n"
                ),
                "{path:?}"
            );
            let (id, count) = id.trim_end().split_once('.').unwrap();
            assert_eq!((id.len(), count), (32, nth.to_string().as_str()), "{path:?}");
            ids.push(id.to_owned());
            backend.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            assert_eq!(client::head(&mut stream).await.status, 204);
            if nth == 2 {
                stream.write_all(request.as_bytes()).await.unwrap();
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "one stretch: {ids:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let (listener, addr) = backend::listener().await;
    let hub = "--trusted-proxies 127.0.0.9";
    let file = format!("service = ['{NAME}={addr}']");
    let served = Served::new(Path::Tunnelled, hub, &file).await;
    let mut stream = connect_from("127.0.0.9:0", served.addr()).await;
    let request = format!(
        "PROXY TCP4 192.0.2.7 198.51.100.1 5555 80\r\nGET / HTTP/1.1\r\nHost: {NAME}\r\n\
         X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: theirs\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = text(client::raw_head(&mut accepted(&listener).await).await);
    for said in [
        "X-Forwarded-Proto: https\r\n",
        "X-Request-Id: theirs\r\n",
        "X-Forwarded-For: 203.0.113.9, 192.0.2.7\r\n",
    ] {
        assert_eq!(head.matches(said).count(), 1, "{said}: {head}");
    }
    assert!(!head.contains("X-Forwarded-Proto: http\r\n"), "{head}");
}
