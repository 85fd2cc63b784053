//! `/metrics` as a scraper sees it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ops_proxy_tests::client::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Asks for `/metrics` and throws it away; how long it took, and its bytes.
pub(crate) async fn scrape(admin: SocketAddr) -> (Duration, usize) {
    let begun = Instant::now();
    let mut stream = connect(admin).await;
    // In HTTP/1.0 the body ends with the connection, and is the text itself.
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: admin\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = stream.read(&mut buffer).await.unwrap();
    assert!(buffer.starts_with(b"HTTP/1.0 200 "), "no scrape");
    while let read @ 1.. = stream.read(&mut buffer).await.unwrap() {
        bytes += read;
    }
    (begun.elapsed(), bytes)
}
