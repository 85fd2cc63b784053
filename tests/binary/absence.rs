//! Readers that pause and readers that vanish: the one is waited for, the other noticed. That takes
//! longer than any other test, so it begins first: tests begin in the order of their names.
//!
//! Those that vanish are at the far end of a network of this test's own, whose cable is
//! pulled. That takes root.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::wait::skipped;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::{NAME, connecting, listening};

/// More than all buffers on the way take.
const BYTES: usize = 128 * 1024 * 1024;

/// The answer lasts until its connection is closed.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Who has vanished is noticed within this time.
const NOTICED: Duration = Duration::from_secs(90);

/// Longer than a reader that answers nothing is waited for.
const PAUSE: Duration = Duration::from_secs(100);

/// Reads a little ten times a second, as long as there is anything.
const SLOW: &str = "while read -r -N 65536 -u 3; do read -t 0.1 -u 9; done";
/// Reads nothing at all.
const PAUSED: &str = "read -u 9";

/// A second machine, as far as the network is concerned.
struct Elsewhere {
    name: String,
    near: String,
    clients: Vec<Child>,
}

fn ip(args: &str) -> bool {
    let command = Command::new("ip").args(args.split_whitespace()).stderr(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

impl Elsewhere {
    /// `None` where this process may not have one.
    fn open() -> Option<Self> {
        let id = std::process::id();
        let [.., high, low] = id.to_be_bytes();
        // The two addresses of a network for measurements (RFC 2544), by process.
        let (near, far) = (low & !3 | 1, low & !3 | 2);
        let name = format!("ops-proxy-{id}");
        let opened = Self { near: format!("198.18.{high}.{near}"), name, clients: Vec::new() };
        let Self { near, name, .. } = &opened;
        let steps = [
            format!("netns add {name}"),
            format!("link add op{id} type veth peer name far netns {name}"),
            format!("addr add {near}/30 dev op{id}"),
            format!("link set op{id} up"),
            format!("-n {name} addr add 198.18.{high}.{far}/30 dev far"),
            format!("-n {name} link set far up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(opened)
    }

    /// A client there, which asks the peer on `port` for [`NAME`] and then reads so.
    fn client(&mut self, port: u16, reads: &str) {
        let Self { name, near, clients } = self;
        let request = client::get_request("/", NAME).replace("\r\n", "\\r\\n");
        // Nothing ever comes from 9, so that it is there to wait on.
        let script = format!(
            "exec 9<> <(:); exec 3<>/dev/tcp/{near}/{port}; printf '{request}' >&3; {reads}"
        );
        let client = Command::new("ip")
            .args(["netns", "exec", name, "bash", "-c", &script])
            .stdin(Stdio::null())
            .spawn();
        clients.push(client.expect("ip was there before"));
    }

    /// Nothing goes there or comes from there any more.
    fn unplug(&self) {
        assert!(ip(&format!("-n {} link set far down", self.name)));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for client in &mut self.clients {
            // It may have ended.
            let _ = client.kill();
            let _ = client.wait();
        }
        ip(&format!("link del op{}", std::process::id()));
        ip(&format!("netns del {}", self.name));
    }
}

async fn much() -> Backend {
    Backend::start(|mut stream| async move {
        client::raw_head(&mut stream).await;
        let _ = stream.write_all(HEAD).await;
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..BYTES / chunk.len() {
            // A client that vanishes is no fault of the backend.
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// One test, so that its two waits are one.
#[tokio::test]
async fn a_reader_that_pauses_is_waited_for_and_one_that_vanishes_is_noticed() {
    let backend = much().await;
    let public = listening(&format!("--tcp 0.0.0.0:0={NAME}")).await;
    let behind = connecting(public.listen(), &format!("--service {NAME}={}", backend.addr())).await;
    public.serves(&[NAME]).await;

    let mut pausing = connect(public.listen()).await;
    pausing.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
    pausing.read_u8().await.unwrap();
    let begun = Instant::now();

    let active = |count: f64| {
        let public = &public;
        async move {
            let mut pace = interval(Duration::from_millis(200));
            loop {
                pace.tick().await;
                let metrics = public.metrics().await;
                if metrics.value("ops_proxy_connections_active", &[]) == count {
                    return;
                }
            }
        }
    };
    match Elsewhere::open() {
        None => skipped("a network of its own takes root; nobody vanishes"),
        Some(mut elsewhere) => {
            let port = public.tcp()[0].port();
            elsewhere.client(port, SLOW);
            elsewhere.client(port, PAUSED);
            // Bytes of all three have filled what can be filled.
            public
                .until("three downloads under way", |metrics| {
                    let bytes = metrics.value("ops_proxy_connections_bytes_rx_total", &[]);
                    metrics.value("ops_proxy_connections_active", &[]) == 3.0 && bytes > 1_000_000.0
                })
                .await;
            elsewhere.unplug();
            let noticed = timeout(NOTICED, active(1.0)).await;
            assert!(noticed.is_ok(), "nobody has noticed in {NOTICED:?}");
        }
    }

    sleep_until(begun + PAUSE).await;
    let mut chunk = vec![0; 1024 * 1024];
    let mut got = 1;
    loop {
        match pausing.read(&mut chunk).await.unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert_eq!(got, HEAD.len() + BYTES);
    drop(pausing);
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 1.0);
    let failed = metrics.value("ops_proxy_requests_failed_total", &[]);
    let broken = metrics.value("ops_proxy_proxy_errors_total", &[("reason", "data_io_error")]);
    assert_eq!(failed, broken);
    drop(behind);
}
