//! What a peer takes of the machine: file descriptors and memory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::kernel::{Queues, raise_file_limit};
use ops_proxy_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Mesh, NAME, Path, launch, listening};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn without_file_descriptors_accept_waits_and_recovers() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={} --workers 2", backend.addr())).await;
    public.limit_files(64);
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(connect(public.listen()).await);
    }
    until("accept to fail", async || {
        public.events().iter().any(|event| event.message().contains("cannot accept")).then_some(())
    })
    .await;
    drop(idle);
    // Their descriptors come back one by one.
    until("a request to be served again", async || {
        let answer = client::get(public.listen(), "/after", NAME).await;
        (answer.text() == format!("GET /after\n{NAME}\n")).then_some(())
    })
    .await;
    let metrics = public.quiet().await;
    assert!(metrics.value("ops_proxy_rejected_total", &[("reason", "fd_limit")]) >= 1.0);
}

#[tokio::test]
async fn five_hundred_slow_heads_hold_up_nobody() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let mut slow = Vec::new();
    for first_bytes in [&b""[..], b"GET / HT", b"\x16\x03\x01", b"HELLO:1:", b"DATA:0"] {
        for _ in 0..100 {
            let mut stream = connect(public.listen()).await;
            stream.write_all(first_bytes).await.unwrap();
            slow.push(stream);
        }
    }
    let answer = client::get(public.listen(), "/", NAME).await;
    assert_eq!(answer.status, 200);
    assert_eq!(public.quiet().await.value("ops_proxy_requests_success_total", &[]), 1.0);
}

/// On some processors, old C libraries copy slowly unless they are told how; whoever has told them
/// is left alone.
#[tokio::test]
async fn a_peer_copies_fast_where_the_c_library_would_not() {
    const OWN: &str = "glibc.cpu.x86_rep_movsb_threshold=4096";
    let start = |tunables: &'static str| async move {
        let run = launch().args("run --listen 127.0.0.1:0");
        let peer = run.env("GLIBC_TUNABLES", tunables).peer().await;
        peer.events().iter().any(|event| event.message().contains("`rep movsb`"))
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let is_slow = ["AuthenticAMD", " erms "].iter().all(|word| cpuinfo.contains(word));
    assert_eq!(start("").await, is_slow && cfg!(target_env = "gnu"));
    assert!(!start(OWN).await);
}

/// What a connection costs while nothing happens on it, in bytes.
const IDLE_BYTES: usize = 5 * 1024;

/// Ten thousand where so many files may be open: each connection takes two of the
/// peer and two of the tests, which hold both of its ends.
fn idle_connections(files: u64) -> usize {
    usize::try_from(files / 5).unwrap_or(usize::MAX).min(10_000)
}

#[tokio::test]
async fn an_idle_connection_costs_at_most_five_kilobytes() {
    let connections = idle_connections(raise_file_limit());
    let backend = Backend::echo().await;
    for path in Path::ALL {
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let mut idle = Vec::new();
        let mut resident = 0;
        for count in 0..connections + 200 {
            // The first ones also pay for what all of them share.
            if count == 200 {
                resident = mesh.public.resident_bytes();
            }
            let mut stream = connect(mesh.addr()).await;
            stream.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
            assert_eq!(client::head(&mut stream).await.status, 200);
            idle.push(stream);
        }
        let each = mesh.public.resident_bytes().saturating_sub(resident) / connections;
        assert!(each <= IDLE_BYTES, "{path:?}: {each} bytes for each of {connections} connections");
    }
}

const GIB: usize = 1024 * MIB;

/// What one process may hold of one direction of one stream, in bytes.
const HELD_BYTES: usize = 64 * 1024;

/// Takes as much as it is given, up to a GiB, and says how much that is so far.
async fn send_gibibyte(mut stream: TcpStream, sent: Arc<AtomicUsize>) {
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    stream.write_all(head).await.unwrap();
    sent.fetch_add(head.len(), Ordering::Relaxed);
    let chunk = vec![0x5a; 256 * 1024];
    while let left @ 1.. = GIB - sent.load(Ordering::Relaxed) {
        let written = stream.write(&chunk[..left.min(chunk.len())]).await.unwrap();
        sent.fetch_add(written, Ordering::Relaxed);
    }
}

/// A download at one moment, from the backend to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Download {
    sent: usize,
    /// Between two processes, in the kernel.
    to_the_mesh: usize,
    within_the_mesh: usize,
    to_the_client: usize,
    counted: usize,
}

impl Download {
    /// What the processes of the mesh hold. What the kernel is just acknowledging
    /// may stand in two queues at a time.
    fn held(&self) -> usize {
        self.sent.saturating_sub(self.to_the_mesh + self.within_the_mesh + self.counted)
    }
}

/// Waits until nothing moves any more: no more is sent, and a look is like the
/// last one.
async fn stalled(sent: &AtomicUsize, mut look: impl AsyncFnMut() -> Download) -> Download {
    let mut before = (0, 0);
    until("the backend to be held up", async || {
        let now = sent.load(Ordering::Relaxed);
        before = if before.0 == now { (now, before.1 + 1) } else { (now, 0) };
        (now > 0 && before.1 > 20).then_some(())
    })
    .await;
    let mut last = None;
    until("all to come to rest", async || {
        let now = look().await;
        (last.replace(now) == Some(now)).then_some(now)
    })
    .await
}

/// The backend is held up as soon as the buffers of the kernel are full; the peers
/// themselves keep next to nothing, and count what the client's socket has taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_a_gibibyte_holds_up_the_backend_and_fills_no_memory() {
    for path in Path::ALL {
        let (listener, addr) = backend::listener().await;
        let mesh = Mesh::serving(path, addr, "").await;
        let resident = mesh.public.resident_bytes();
        let mut client = connect(mesh.addr()).await;
        let request = client::get_request("/", NAME);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut backend = backend::accept(&listener).await;
        backend.read_exact(&mut vec![0; request.len()]).await.unwrap();

        let own = client.local_addr().unwrap();
        let from_backend = (addr, backend.peer_addr().unwrap());
        let mut data = Queues::look().dialled_from(mesh.addr());
        data.retain(|from| *from != own);
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = tokio::spawn(send_gibibyte(backend, Arc::clone(&sent)));
        let look = async || {
            let queues = Queues::look();
            // Those that the mesh keeps for further requests come and go.
            let within = data.iter().filter_map(|from| queues.between(*from, mesh.addr()));
            let metrics = mesh.public.metrics().await;
            Download {
                sent: sent.load(Ordering::Relaxed),
                to_the_mesh: queues.between(from_backend.0, from_backend.1).unwrap(),
                within_the_mesh: within.sum(),
                to_the_client: queues.between(mesh.addr(), own).unwrap(),
                counted: metrics.value("ops_proxy_connections_bytes_rx_total", &[]) as usize,
            }
        };
        let mut buffer = vec![0; MIB];
        let mut read = 0;
        for goal in [0, MIB, GIB / 2, GIB - 200 * MIB] {
            while read < goal {
                read += client.read(&mut buffer).await.unwrap();
            }
            let now = stalled(&sent, look).await;
            assert!(now.sent < GIB, "{path:?}: nothing held the backend up");
            assert_eq!(
                now.counted,
                read + now.to_the_client,
                "{path:?}: counters follow the reader"
            );
            let processes = 1 + usize::from(mesh.behind.is_some());
            assert!(now.held() <= HELD_BYTES * processes, "{path:?}: {now:?}");
            let grown = mesh.public.resident_bytes().saturating_sub(resident);
            assert!(grown < 4 * MIB, "{path:?}: {grown} bytes for one stalled reader");
        }
        while read < GIB {
            read += client.read(&mut buffer).await.unwrap();
        }
        sending.await.unwrap();
        assert_eq!(client::to_end(&mut client).await.unwrap(), b"");
        drop(client);
        let metrics = mesh.public.quiet().await;
        assert_eq!(metrics.value("ops_proxy_connections_bytes_rx_total", &[]), GIB as f64);
        assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
    }
}
