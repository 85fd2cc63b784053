//! The PROXY protocol: required from trusted sources, refused from all others.

use ops_proxy_tests::client::{self, connect, connect_from};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::process::Peer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{NAME, listening};

/// The load balancer of these tests.
const TRUSTED: &str = "127.0.0.2:0";

async fn behind_a_load_balancer() -> (Peer, Link) {
    let public = listening("--trusted-proxies 127.0.0.2/32").await;
    let peer = Link::register(public.listen(), "by-hand", &[NAME]).await;
    (public, peer)
}

/// A version 2 header: PROXY over TCP and IPv4 when there are addresses, LOCAL
/// when there are none.
fn version_2(addresses: &[u8]) -> Vec<u8> {
    let (command, family) = if addresses.is_empty() { (0x20, 0x00) } else { (0x21, 0x11) };
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, addresses].concat()
}

#[tokio::test]
async fn the_source_in_the_header_of_a_trusted_proxy_is_the_clients() {
    let (public, mut peer) = behind_a_load_balancer().await;
    let addresses = [192, 0, 2, 8, 198, 51, 100, 1, 0x15, 0xb3, 0x01, 0xbb];
    for (header, source) in [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n".to_vec(), "192.0.2.7:5555"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 5556 443\r\n".to_vec(), "[2001:db8::7]:5556"),
        (version_2(&addresses), "192.0.2.8:5555"),
    ] {
        let mut client = connect_from(TRUSTED, public.listen()).await;
        client.write_all(&header).await.unwrap();
        client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
        assert_eq!(peer.forward().await.source, source.parse().unwrap());
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_source() {
    let (public, mut peer) = behind_a_load_balancer().await;
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), version_2(&[])] {
        let mut client = connect_from(TRUSTED, public.listen()).await;
        let own = client.local_addr().unwrap();
        client.write_all(&header).await.unwrap();
        client.write_all(client::get_request("/", NAME).as_bytes()).await.unwrap();
        assert_eq!(peer.forward().await.source, own);
    }
}

/// Sends a header and a sound request, and expects no answer but a close.
async fn assert_refused(public: &Peer, mut client: TcpStream, header: &[u8]) {
    let labels = [("reason", "proxy_protocol")];
    let before = public.metrics().await.value("ops_proxy_rejected_total", &labels);
    let request = [header, client::get_request("/", NAME).as_bytes()].concat();
    client.write_all(&request).await.unwrap();
    // What it closes with unread bytes may arrive as RST.
    let end = client::to_end(&mut client).await.unwrap_or_default();
    assert!(!end.starts_with(b"HTTP/1.1 200"), "{header:?}");
    let metrics = public.metrics().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &labels), before + 1.0, "{header:?}");
    assert_eq!(metrics.value("ops_proxy_requests_total", &[]), 0.0, "{header:?}");
}

#[tokio::test]
async fn a_header_from_anyone_else_is_refused() {
    let (public, _peer) = behind_a_load_balancer().await;
    let addresses = [192, 0, 2, 8, 198, 51, 100, 1, 0x15, 0xb3, 0x01, 0xbb];
    for header in
        [b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n".to_vec(), version_2(&addresses)]
    {
        assert_refused(&public, connect(public.listen()).await, &header).await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_without_a_sound_header_is_refused() {
    let (public, _peer) = behind_a_load_balancer().await;
    let mut bad_version = version_2(&[]);
    bad_version[12] = 0x31;
    let overlong = format!("PROXY TCP4 {} 1 1\r\n", "1".repeat(107));
    let mut huge = version_2(&[]);
    huge[14..16].copy_from_slice(&[0xff, 0xff]);
    // A TLV that says it is longer than what is left of the header.
    let addresses = [192, 0, 2, 8, 198, 51, 100, 1, 0x15, 0xb3, 0x01, 0xbb];
    let overrun = version_2(&[&addresses[..], &[4, 0, 9, 1]].concat());
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\n",
        overlong.as_bytes(),
        &bad_version,
        &huge,
        &overrun,
    ] {
        assert_refused(&public, connect_from(TRUSTED, public.listen()).await, header).await;
    }
}
