//! Peers that do both jobs at once.

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;

use crate::{NAME, launch};

/// An address that belongs to this test process alone: all of 127.0.0.0/8 is
/// this machine, and nobody else binds there.
fn own_address(host: u8) -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}:7000", 100 + (pid >> 16) % 100, pid >> 8 & 0xff, host)
}

#[tokio::test]
async fn two_peers_that_register_with_each_other_reach_each_others_names() {
    let (east, west) = (own_address(2), own_address(3));
    let backend = Backend::http().await;
    let peer = |own: &str, other: &str, name: &str| {
        let service = format!("--service {name}={}", backend.addr());
        launch().args(&format!("run --listen {own} --connect {other} {service}")).peer()
    };
    let east = peer(&east, &west, "east.example").await;
    let west = peer(&west, &east.listen().to_string(), "west.example").await;
    let names = ["east.example", "west.example"];
    for peer in [&east, &west] {
        peer.serves(&names).await;
        for name in names {
            let answer = client::get(peer.listen(), "/x", name).await;
            assert_eq!(answer.text(), format!("GET /x\n{name}\n"));
        }
    }
    for (peer, own, other) in
        [(&east, "east.example", "west.example"), (&west, "west.example", "east.example")]
    {
        let metrics = peer.quiet().await;
        let of = |family: &str, name: &str| metrics.value(family, &[("client_name", name)]);
        for name in [own, other] {
            assert_eq!(of("ops_proxy_requests_success_total", name), 1.0, "{name}");
        }
        // The own name is dialled directly, the other one through the tunnel.
        assert_eq!(of("ops_proxy_forward_commands_total", own), 0.0);
        assert_eq!(of("ops_proxy_forward_commands_total", other), 1.0);
        assert_eq!(metrics.value("ops_proxy_server_info", &[]), 1.0);
        assert_eq!(metrics.value("ops_proxy_client_info", &[]), 1.0);
        assert_eq!(metrics.value("ops_proxy_client_forwards_total", &[]), 1.0);
    }
}

/// The backend of one peer's name is the next peer's public address.
#[tokio::test]
async fn a_request_travels_a_chain_of_tunnels() {
    let backend = Backend::http().await;
    let far = crate::listening("").await;
    let service = format!("--service deep.example={}", backend.addr());
    let _behind_far = crate::connecting(far.listen(), &service).await;
    far.serves(&["deep.example"]).await;
    let near = crate::listening("").await;
    let middle = format!("run --listen 127.0.0.1:0 --connect {}", near.listen());
    let service = format!("--service deep.example={}", far.listen());
    let middle = launch().args(&middle).args(&service).peer().await;
    near.serves(&["deep.example"]).await;
    for entrance in [&near, &middle, &far] {
        let answer = client::get(entrance.listen(), "/deep", "deep.example").await;
        assert_eq!(answer.text(), "GET /deep\ndeep.example\n");
    }
    let success = "ops_proxy_requests_success_total";
    assert_eq!(far.quiet().await.value(success, &[]), 3.0);
    assert_eq!(middle.quiet().await.value(success, &[]), 1.0);
    assert_eq!(near.quiet().await.value(success, &[]), 1.0);
}

/// `localhost` may stand for several addresses, of which one answers.
#[tokio::test]
async fn a_host_name_works_wherever_an_address_does() {
    let backend = Backend::http().await;
    let public = crate::listening("").await;
    let upstream = format!("run --connect localhost:{}", public.listen().port());
    let service = format!("--service {NAME}=localhost:{}", backend.addr().port());
    let _behind = launch().args(&upstream).args(&service).peer().await;
    public.serves(&[NAME]).await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 200);
}

#[tokio::test]
async fn ipv6_carries_public_traffic_links_and_literal_names() {
    let backend = Backend::http().await;
    let public = launch().args("run --listen [::1]:0").peer().await;
    let service = format!("--service [::1]={}", backend.addr());
    let _behind = crate::connecting(public.listen(), &service).await;
    public.serves(&["[::1]"]).await;
    let answer = client::get(public.listen(), "/x", "[0:0::1]:8080").await;
    assert_eq!(answer.text(), "GET /x\n[0:0::1]:8080\n");
    let metrics = public.quiet().await;
    let success = metrics.value("ops_proxy_requests_success_total", &[("client_name", "[::1]")]);
    assert_eq!(success, 1.0);
}
