//! Connections that say nothing.

use ops_proxy::limits::HEADS;
use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::{self, connect, get_request};
use ops_proxy_tests::kernel::raise_file_limit;
use ops_proxy_tests::wait::skipped;
use tokio::io::AsyncWriteExt;

use crate::{NAME, listening};

const REQUESTS: usize = 200;

#[tokio::test]
async fn a_source_with_16384_silent_connections_keeps_no_other_out() {
    assert_eq!(HEADS, 16_384);
    if raise_file_limit() < HEADS as u64 + 1_000 {
        return skipped("so many connections take more files than this process may open");
    }
    let backend = Backend::http().await;
    let public = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let mut silent = Vec::new();
    for _ in 0..HEADS {
        silent.push(connect(public.listen()).await);
    }
    for n in 0..REQUESTS {
        let mut stream = client::connect_from("127.0.0.2:0", public.listen()).await;
        stream.write_all(get_request("/", NAME).as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 200, "request {n}");
        // The source goes on: it takes every slot that becomes free.
        silent.push(connect(public.listen()).await);
    }
    let metrics = public.quiet().await;
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), REQUESTS as f64);
    let rejected = |reason| metrics.value("ops_proxy_rejected_total", &[("reason", reason)]);
    assert_eq!(rejected("connection_limit"), 0.0);
    // Some may have been silent for too long before it came to that.
    assert!(rejected("head_limit") + rejected("head_timeout") > 0.0);
}
