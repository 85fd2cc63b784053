//! Load balancers in front: they send requests of all their clients on few connections.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::wait::{skipped, until};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{connecting, listening};

const NAMES: [&str; 3] = ["one.example", "two.example", "nobody.example"];
const REQUESTS: usize = 2_000;

/// A load balancer, until dropped.
struct Front {
    process: Child,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Front {
    /// Starts `program` with a configuration that listens at the given address; `None` where
    /// it is not installed.
    async fn start(
        program: &str,
        flags: &[&str],
        config: impl FnOnce(SocketAddr, &str) -> String,
    ) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // A port that nobody listens on, or nearly so.
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = directory.path().join("front.conf");
        fs::write(&path, config(addr, directory.path().to_str().unwrap())).unwrap();
        let started = Command::new(program)
            .args(flags)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            skipped(&format!("{program} is not installed: nothing is shown about it"));
            return None;
        };
        let front = Self { process, addr, _directory: directory };
        until(&format!("{program} to listen"), async || TcpStream::connect(addr).await.ok()).await;
        Some(front)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // SIGTERM, so that a master takes its workers with it.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn nginx(to: SocketAddr) -> impl FnOnce(SocketAddr, &str) -> String {
    move |listen, root| {
        format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log /dev/null;
             events {{ worker_connections 1000; }}
             http {{ access_log off; keepalive_requests 1000000;
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
               fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
               scgi_temp_path {root}/scgi;
               upstream peer {{ server {to}; keepalive 4; }}
               server {{ listen {listen}; location / {{
                 proxy_pass http://peer; proxy_http_version 1.1;
                 proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}"
        )
    }
}

fn haproxy(to: SocketAddr, reuse: &'static str) -> impl FnOnce(SocketAddr, &str) -> String {
    move |listen, _| {
        format!(
            "global\n  maxconn 1000\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen front\n  bind {listen}\n  http-reuse {reuse}\n  server peer {to}\n"
        )
    }
}

/// Requests for all names in turn, of four clients at a time, through `front`.
async fn assert_each_goes_where_its_host_says(front: &Front) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(front.addr).await);
    }
    for n in 0..REQUESTS {
        let stream = &mut clients[n % 4];
        let name = NAMES[n % 3];
        let request = format!("GET /{n} HTTP/1.1\r\nHost: {name}\r\nCookie: of={name}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = client::next_answer(stream).await;
        match name.strip_suffix(".example").unwrap() {
            "nobody" => assert_eq!(answer.status, 404, "request {n}"),
            backend => {
                assert_eq!((answer.status, answer.field("x-backend")), (200, backend), "{n}");
            }
        }
    }
}

#[tokio::test]
async fn behind_pools_of_nginx_and_haproxy_no_request_goes_to_another_name() {
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let hub = listening("").await;
    let services =
        format!("--service one.example={} --service two.example={}", one.addr(), two.addr());
    let _site = connecting(hub.listen(), &services).await;
    hub.serves(&NAMES[..2]).await;
    let to = hub.listen();
    let fronts = [
        Front::start("nginx", &["-c"], nginx(to)).await,
        Front::start("haproxy", &["-db", "-f"], haproxy(to, "always")).await,
        Front::start("haproxy", &["-db", "-f"], haproxy(to, "safe")).await,
    ];
    for front in fronts.iter().flatten() {
        assert_each_goes_where_its_host_says(front).await;
    }
}
