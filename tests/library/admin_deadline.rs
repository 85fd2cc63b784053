//! An admin client that does not take its answer.

use ops_proxy::config::PeerConfig;
use ops_proxy::limits::ADMIN_DEADLINE;
use ops_proxy::peer::Peer;
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy_tests::client::{self, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{advance, pause, resume};

/// Long, so that the buffers of a connection do not hold a scrape of them.
const NAMES: usize = 40_000;

/// A peer that serves very many names itself.
fn config() -> PeerConfig {
    let mut config = PeerConfig::new("many".parse().unwrap());
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    let domain = format!("{0}.{0}.{0}.example", "x".repeat(60));
    for index in 0..NAMES {
        let name = format!("n{index}.{domain}").parse().unwrap();
        config.services.insert(name, "127.0.0.1:1".parse().unwrap());
    }
    config
}

#[tokio::test]
async fn a_scraper_that_stops_reading_is_cut_at_the_deadline() {
    let peer = Peer::start(config(), TokioNet).await.unwrap();
    let admin = peer.handle().admin_addr().unwrap();
    let running = tokio::spawn(peer.run());
    let mut scraper = connect(admin).await;
    scraper.write_all(client::get_request("/metrics", "admin").as_bytes()).await.unwrap();
    scraper.read_exact(&mut [0; 1024]).await.unwrap();
    pause();
    advance(ADMIN_DEADLINE).await;
    resume();
    let rest = client::to_end(&mut scraper).await.unwrap_or_default();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "all {} bytes came", rest.len());
    running.abort();
}
