//! A backend whose DNS gets no answer, beside one that is well.
//!
//! The peer runs in a mount namespace of its own, where `/etc/resolv.conf` names a server
//! that the test opens and never answers from. That takes root.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::process::{Launch, Peer};
use ops_proxy_tests::wait::skipped;
use tokio::task::JoinSet;
use tokio::time::{Duration, interval};

use crate::{NAME, listening};

const DEAD: &str = "dead.example";

/// As many requests for the dead name as come in a few seconds, and more than the threads
/// of a pool that blocks one for each of them.
const REQUESTS: usize = 600;

/// A server of DNS that hears and never answers, and the command that asks it.
struct DeadDns {
    _server: UdpSocket,
    directory: tempfile::TempDir,
}

impl DeadDns {
    /// `None` where this process may not have one.
    fn open() -> Option<Self> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = format!("127.53.{high}.{low}");
        let server = UdpSocket::bind((ip.as_str(), 53)).ok()?;
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
        write("resolv.conf", format!("nameserver {ip}\n"));
        write("nsswitch.conf", "hosts: files dns\n".to_owned());
        let mut script = "set -e\n".to_owned();
        for file in ["resolv.conf", "nsswitch.conf"] {
            // A machine without the file goes by the same default.
            if Path::new("/etc").join(file).exists() {
                let from = directory.path().join(file);
                script += &format!("mount --bind {} /etc/{file}\n", from.display());
            }
        }
        write("inside", format!("{script}exec \"$@\"\n"));
        let dead = Self { _server: server, directory };
        let works = dead.command("true").status().is_ok_and(|status| status.success());
        works.then_some(dead)
    }

    fn inside(&self) -> String {
        self.directory.path().join("inside").display().to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", &self.inside(), program]);
        command
    }

    /// The command under test, without arguments.
    fn launch(&self) -> Launch {
        let path = self.directory.path().join("ops-proxy");
        let binary = env!("CARGO_BIN_EXE_ops-proxy-under-test");
        let script =
            format!("#!/bin/sh\nexec unshare --mount sh {} {binary} \"$@\"\n", self.inside());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Launch::new(path.to_str().unwrap())
    }
}

async fn statuses(requests: JoinSet<u16>) -> Vec<u16> {
    requests.join_all().await
}

#[tokio::test]
async fn a_dead_dns_fails_only_its_own_name_and_by_fail() {
    let Some(dns) = DeadDns::open() else {
        return skipped("a server of DNS and a mount namespace take root");
    };
    let backend = Backend::http().await;
    let public = listening("").await;
    let services = format!(
        "--service {NAME}=localhost:{} --service {DEAD}=dead.backend.example:80",
        backend.addr().port()
    );
    let behind: Peer =
        dns.launch().args(&format!("run --connect {} {services}", public.listen())).peer().await;
    public.serves(&[NAME, DEAD]).await;
    let addr = public.listen();

    // 134 a second.
    let mut pace = interval(Duration::from_micros(7_460));
    let mut dead = JoinSet::new();
    for _ in 0..REQUESTS {
        pace.tick().await;
        dead.spawn(async move { client::get(addr, "/", DEAD).await.status });
    }
    let mut alive = JoinSet::new();
    for _ in 0..100 {
        pace.tick().await;
        alive.spawn(async move { client::get(addr, "/", NAME).await.status });
    }
    assert_eq!(statuses(alive).await, [200; 100]);
    let threads = behind.threads();
    assert_eq!(statuses(dead).await, [502; REQUESTS]);

    assert!(threads < 100, "{threads} threads wait for DNS");
    let metrics = public.quiet().await;
    let failed =
        |name: &str| metrics.value("ops_proxy_forwards_failed_total", &[("client_name", name)]);
    assert_eq!((failed(DEAD), failed(NAME)), (REQUESTS as f64, 0.0));
    let late = [("client_name", DEAD), ("reason", "backend_timeout")];
    assert!(metrics.value("ops_proxy_forwards_failed_total", &late) > 0.0);
    let timed_out = [("client_name", DEAD), ("reason", "data_timeout")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &timed_out), 0.0);
    assert_eq!(metrics.value("ops_proxy_data_connections_timeout_total", &[]), 0.0);
}
