//! What a peer takes of the machine: file descriptors and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::payload::Payload;
use ops_proxy_tests::wait::until;
use tokio::io::AsyncWriteExt;

use crate::{Mesh, NAME, Path, listening};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn without_file_descriptors_accept_waits_and_recovers() {
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    public.limit_files(64);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(connect(public.listen()).await);
    }
    until("accept to fail", async || {
        public.events().iter().any(|event| event.message().contains("cannot accept")).then_some(())
    })
    .await;
    drop(idle);
    let answer = client::get(public.listen(), "/after", NAME).await;
    assert_eq!(answer.text(), format!("GET /after\n{NAME}\n"));
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

/// What a connection costs while nothing happens on it, in bytes.
const IDLE_BYTES: usize = 5 * 1024;

#[tokio::test]
async fn an_idle_connection_costs_at_most_five_kilobytes() {
    const CONNECTIONS: usize = 2000;
    let backend = Backend::echo().await;
    for path in Path::BOTH {
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let mut idle = Vec::new();
        let mut resident = 0;
        for count in 0..CONNECTIONS + 200 {
            // The first ones also pay for what all of them share.
            if count == 200 {
                resident = mesh.public.resident_bytes();
            }
            let mut stream = connect(mesh.addr()).await;
            stream.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
            assert_eq!(client::head(&mut stream).await.status, 200);
            idle.push(stream);
        }
        let each = mesh.public.resident_bytes().saturating_sub(resident) / CONNECTIONS;
        assert!(each <= IDLE_BYTES, "{path:?}: {each} bytes for each connection");
    }
}

/// The backend is held up as soon as the buffers of the kernel are full; the peer
/// itself keeps next to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_holds_up_the_backend_and_fills_no_memory() {
    for path in Path::BOTH {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let backend = Backend::start(move |mut stream| {
            let count = Arc::clone(&count);
            async move {
                let mut payload = Payload::new(1, usize::MAX);
                while let Some(chunk) = payload.next_chunk() {
                    if stream.write_all(&chunk).await.is_err() {
                        return;
                    }
                    count.fetch_add(chunk.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let mesh = Mesh::serving(path, backend.addr(), "").await;
        let resident = mesh.public.resident_bytes();
        let mut client = connect(mesh.addr()).await;
        client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
        let mut looks = (0, 0);
        until("the backend to be held up", async || {
            let now = sent.load(Ordering::Relaxed);
            looks = if looks.0 == now { (now, looks.1 + 1) } else { (now, 0) };
            (now > 0 && looks.1 > 50).then_some(())
        })
        .await;
        let taken = mesh.public.metrics().await.value("ops_proxy_connections_bytes_rx_total", &[]);
        assert!(sent.load(Ordering::Relaxed) < 64 * MIB, "{path:?}: nothing held the backend up");
        assert!(taken <= sent.load(Ordering::Relaxed) as f64, "counted before it was sent");
        let grown = mesh.public.resident_bytes().saturating_sub(resident);
        assert!(grown < 4 * MIB, "{path:?}: {grown} bytes for one stalled reader");
    }
}
