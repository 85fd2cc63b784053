//! What is measured: the backend, and what stands before it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Launch, Peer};
use tempfile::TempDir;

use crate::load::NAME;

/// Something that listens, and dies with this value.
#[allow(dead_code, reason = "processes and directories are held for their end")]
enum Held {
    Server(Server),
    Peer(Box<Peer>),
    Pki(Box<Ca>),
    Directory(TempDir),
}

/// A way to the backend.
pub(crate) struct Rig {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Where the load goes.
    pub(crate) addr: SocketAddr,
    _held: Vec<Held>,
}

impl Rig {
    /// No proxy at all.
    pub(crate) fn direct(nginx: &Nginx) -> Self {
        Self { name: "direct", addr: nginx.addr, _held: Vec::new() }
    }

    /// Two HAProxies in TCP mode, which splice in the kernel.
    pub(crate) fn haproxy(nginx: &Nginx) -> Self {
        Self::two_haproxies("haproxy", "mode tcp\n  option splice-auto", nginx)
    }

    /// Two HAProxies that read every request, and keep their connections for the next.
    pub(crate) fn haproxy_http(nginx: &Nginx) -> Self {
        let options = "mode http\n  http-reuse safe\n  option splice-auto";
        Self::two_haproxies("haproxy http", options, nginx)
    }

    /// Two of the smallest relays of one kind.
    pub(crate) fn relays(
        name: &'static str,
        arguments: &str,
        binary: &Path,
        nginx: &Nginx,
    ) -> Self {
        let [outer, inner] = [free_addr(), free_addr()];
        let [second, first] = [(inner, nginx.addr), (outer, inner)].map(|(listen, to)| {
            let mut command = Command::new(binary);
            command.args(arguments.split(' ')).args([listen.to_string(), to.to_string()]);
            Held::Server(Server::start(&mut command, listen))
        });
        Self { name, addr: outer, _held: vec![first, second] }
    }

    fn two_haproxies(name: &'static str, options: &str, nginx: &Nginx) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (inner, outer) = (free_addr(), free_addr());
        let second = haproxy(directory.path(), "inner", options, inner, nginx.addr);
        let first = haproxy(directory.path(), "outer", options, outer, inner);
        let held = vec![Held::Server(first), Held::Server(second), Held::Directory(directory)];
        Self { name, addr: outer, _held: held }
    }

    /// Ops Proxy, in clear text between its peers.
    pub(crate) async fn plaintext(name: &'static str, binary: &Path, nginx: &Nginx) -> Self {
        Self::chain(name, binary, nginx, 0).await
    }

    /// The same by a mapped port, where no request is read: what both HAProxies in TCP mode do.
    pub(crate) async fn port(name: &'static str, binary: &Path, nginx: &Nginx) -> Self {
        let listen = format!("--listen 127.0.0.1:0 --peer-id hub --tcp 127.0.0.1:0={NAME}");
        let hub = peer(binary, &listen).await;
        let addr = hub.tcp()[0];
        let service = format!("--service {NAME}={} --peer-id site", nginx.addr);
        let site = peer(binary, &format!("--connect {} {service}", hub.listen())).await;
        hub.serves(&[NAME]).await;
        let held = [site, hub].map(|peer| Held::Peer(Box::new(peer)));
        Self { name, addr, _held: held.into() }
    }

    /// The same, with so many peers between the two that pass the name on.
    pub(crate) async fn chain(
        name: &'static str,
        binary: &Path,
        nginx: &Nginx,
        between: usize,
    ) -> Self {
        let first = peer(binary, "--listen 127.0.0.1:0 --peer-id hub").await;
        let addr = first.listen();
        let mut chain = vec![first];
        for n in 0..between {
            let before = chain[n].listen();
            let passing =
                format!("--listen 127.0.0.1:0 --connect {before} --peer-id hop-{n} --transit *");
            chain.push(peer(binary, &passing).await);
        }
        let service = format!("--service {NAME}={} --peer-id site", nginx.addr);
        let connect = format!("--connect {} {service}", chain[between].listen());
        chain.push(peer(binary, &connect).await);
        chain[0].serves(&[NAME]).await;
        let held = chain.into_iter().rev().map(|peer| Held::Peer(Box::new(peer)));
        Self { name, addr, _held: held.collect() }
    }

    /// The other way: a third peer asks the hub for the name.
    pub(crate) async fn reached(name: &'static str, binary: &Path, nginx: &Nginx) -> Self {
        let ca = Ca::new("bench");
        let files = ["hub", "site", "branch"].map(|id| {
            let names: &[&str] = if id == "hub" { &["localhost"] } else { &[NAME] };
            ca.issue(id, Request::peer(id, names).may_reach("*"))
        });
        let [hub, site, branch] = files.map(|files| ca.flags(&files));
        let hub = peer(binary, &format!("--listen 127.0.0.1:0 --peer-id hub {hub}")).await;
        let connect = format!("--connect localhost:{}", hub.listen().port());
        let service = format!("--service {NAME}={} --peer-id site {site}", nginx.addr);
        let site = peer(binary, &format!("{connect} {service}")).await;
        let reach = format!("--listen 127.0.0.1:0 --reach {NAME} --peer-id branch {branch}");
        let branch = peer(binary, &format!("{connect} {reach}")).await;
        hub.serves(&[NAME]).await;
        branch.serves(&[NAME]).await;
        let addr = branch.listen();
        let peers = [branch, site, hub].map(|peer| Held::Peer(Box::new(peer)));
        Self { name, addr, _held: peers.into_iter().chain([Held::Pki(Box::new(ca))]).collect() }
    }

    /// Ops Proxy, with mutual TLS between its peers.
    pub(crate) async fn mutual_tls(name: &'static str, binary: &Path, nginx: &Nginx) -> Self {
        let ca = Ca::new("bench");
        let hub = ca.issue("hub", Request::peer("hub", &["localhost"]));
        let site = ca.issue("site", Request::peer("site", &[NAME]));
        let listen = format!("--listen 127.0.0.1:0 --peer-id hub {}", ca.flags(&hub));
        let listening = peer(binary, &listen).await;
        let connect = format!(
            "--connect localhost:{} --service {NAME}={} --peer-id site {}",
            listening.listen().port(),
            nginx.addr,
            ca.flags(&site)
        );
        let connecting = peer(binary, &connect).await;
        listening.serves(&[NAME]).await;
        let addr = listening.listen();
        let held = vec![
            Held::Peer(Box::new(connecting)),
            Held::Peer(Box::new(listening)),
            Held::Pki(Box::new(ca)),
        ];
        Self { name, addr, _held: held }
    }
}

async fn peer(binary: &Path, arguments: &str) -> Peer {
    let command = format!("run {arguments}");
    Launch::new(binary.to_str().unwrap()).args(&command).peer().await
}

/// The backend: a small answer at `/`, a large file at `/bulk`.
pub(crate) struct Nginx {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    _server: Server,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it with a file of so many MiB.
    pub(crate) fn start(bulk_mib: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let addr = free_addr();
        File::create(directory.path().join("bulk")).unwrap().set_len(bulk_mib << 20).unwrap();
        let config = format!(
            "daemon off; worker_processes auto; pid {root}/pid; error_log /dev/null;
             events {{ worker_connections 20000; }}
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
               fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
               scgi_temp_path {root}/scgi;
               server {{ listen {addr} backlog=4096 reuseport; root {root};
                 location = / {{ return 200 \"a small answer of sixty-four bytes, give or take a few of them\\n\"; }} }} }}"
        );
        let path = directory.path().join("nginx.conf");
        fs::write(&path, config).unwrap();
        // The workers are not root's, who made the directory.
        let mut command = Command::new("nginx");
        command.args(["-g", "user root;", "-c"]).arg(&path);
        let server = Server::start(&mut command, addr);
        Self { addr, _server: server, _directory: directory }
    }
}

fn haproxy(
    directory: &Path,
    name: &str,
    options: &str,
    listen: SocketAddr,
    to: SocketAddr,
) -> Server {
    let config = format!(
        "global\n  maxconn 4000\n\
         defaults\n  {options}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen tunnel\n  bind {listen}\n  server next {to}\n"
    );
    let path = directory.join(format!("{name}.cfg"));
    fs::write(&path, config).unwrap();
    Server::start(Command::new("haproxy").arg("-db").arg("-f").arg(&path), listen)
}

/// A child process that listens.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, addr: SocketAddr) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(quiet.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        for _ in 0..500 {
            if TcpStream::connect(addr).is_ok() {
                return server;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("{command:?} does not listen on {addr}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that a master takes its workers with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on, or nearly so.
fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
