//! A server of DNS of the test's own, and the command under test where it is asked.
//!
//! The command runs in a mount namespace of its own, where `/etc/resolv.conf` names the
//! server. That takes root.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::process::Launch;

/// How many servers this process has opened: each has an address of its own.
static OPENED: AtomicU8 = AtomicU8::new(0);

type Table = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// A server of DNS, until dropped.
#[derive(Debug)]
pub struct Dns {
    table: Table,
    directory: TempDir,
    task: JoinHandle<()>,
}

impl Dns {
    /// One that hears and never answers. `None` where this process may not have one.
    pub fn silent() -> Option<Self> {
        Self::open(|server, _| hear(server))
    }

    /// One that answers by its table, which is empty. `None` as above.
    pub fn answering() -> Option<Self> {
        Self::open(serve)
    }

    /// From now on, `host` has these addresses.
    pub fn set(&self, host: &str, ips: &[Ipv4Addr]) {
        self.table.lock().unwrap().insert(host.to_owned(), ips.to_vec());
    }

    /// The command at `binary`, without arguments.
    pub fn launch(&self, binary: &str) -> Launch {
        let path = self.directory.path().join("ops-proxy");
        // All of them become the next: there is one process.
        let script =
            format!("#!/bin/sh\nexec unshare --mount sh {} {binary} \"$@\"\n", self.inside());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Launch::new(path.to_str().unwrap())
    }

    fn open<F>(serve: impl FnOnce(UdpSocket, Table) -> F) -> Option<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 53 + OPENED.fetch_add(1, Ordering::Relaxed), high, low);
        let server = std::net::UdpSocket::bind((ip, 53)).ok()?;
        server.set_nonblocking(true).ok()?;
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
        let server = UdpSocket::from_std(server).expect("inside a runtime");
        let table = Table::default();
        let task = tokio::spawn(serve(server, Arc::clone(&table)));
        let dns = Self { table, directory, task };
        let mut works = Command::new("unshare");
        works.args(["--mount", "sh", &dns.inside(), "true"]);
        works.status().is_ok_and(|status| status.success()).then_some(dns)
    }

    fn inside(&self) -> String {
        self.directory.path().join("inside").display().to_string()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The longest message of DNS over UDP (RFC 1035 §2.3.4).
const MESSAGE_BYTES: usize = 512;

/// Keeps the socket, and says nothing.
async fn hear(server: UdpSocket) {
    std::future::pending::<()>().await;
    drop(server);
}

async fn serve(server: UdpSocket, table: Table) {
    let mut query = [0; MESSAGE_BYTES];
    loop {
        let Ok((length, from)) = server.recv_from(&mut query).await else { continue };
        let answer = answer(&query[..length], &table.lock().unwrap());
        if let Some(answer) = answer {
            // Whoever has asked and gone needs no answer.
            let _ = server.send_to(&answer, from).await;
        }
    }
}

/// The answer to one query (RFC 1035 §4): addresses of version 4, and none of version 6.
fn answer(query: &[u8], table: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let length @ 1.. = usize::from(*query.get(at)?) {
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let is_for_v4 = query.get(at + 1..at + 3)? == [0, 1];
    let found = table.get(&labels.join("."));
    let ips = found.filter(|_| is_for_v4).map_or(&[][..], Vec::as_slice);
    // A response, recursion desired and available; 3: there is no such name.
    let flags = [0x81, if found.is_some() { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::try_from(ips.len()).ok()?, 0, 0, 0, 0];
    let mut answer = [query.get(..2)?, &flags, &counts, question].concat();
    for ip in ips {
        // The name of the question, A, IN, not to be kept, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(ip.octets());
    }
    Some(answer)
}

/// So many addresses of this machine that are this process's own.
pub fn own_addresses<const N: usize>() -> [Ipv4Addr; N] {
    let [.., high, low] = std::process::id().to_be_bytes();
    std::array::from_fn(|n| Ipv4Addr::new(127, 128 | high, low, n as u8 + 1))
}
