//! Names that a peer asks its listening peers for.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::until;

use crate::{connecting, every_way, launch, listening};

/// A hub that lets peers in by certificate or by one of these token rules.
async fn hub(ca: &Ca, rules: &[(&str, &str)]) -> Peer {
    let mut file = String::new();
    for (peer, more) in rules {
        let _ = writeln!(file, "[[token]]\npeer = '{peer}'\nsecret = '{}'\n{more}", secret(peer));
    }
    let file = ca.write("tokens.toml", &file);
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let tokens = format!("--accept-tokens {}", file.display());
    listening(&format!("--peer-id hub {} {tokens} --access-log json", ca.flags(&files))).await
}

fn secret(peer: &str) -> String {
    format!("the token of {peer}, which nobody else has")
}

/// A site that can only dial out, and listens for clients of its own network.
async fn site(ca: &Ca, id: &str, hub: SocketAddr, args: &str) -> Peer {
    let token = ca.write(id, &secret(id));
    let tls = format!("--tls-ca {} --token-file {}", ca.path("ca.pem").display(), token.display());
    let run = format!("run --listen 127.0.0.1:0 --connect {hub} --peer-id {id} {tls}");
    launch().args(&format!("{run} --access-log json {args}")).peer().await
}

#[tokio::test]
async fn two_sites_that_only_dial_out_reach_each_other_through_their_hub() {
    let ca = Ca::new("reach");
    let (http, echo) = (Backend::http().await, Backend::echo().await);
    let hub =
        hub(&ca, &[("north", "reach = ['*.south']"), ("south", "reach = ['app.north']")]).await;
    let north = format!("--service app.north={} --reach *.south", http.addr());
    let north = site(&ca, "north", hub.listen(), &north).await;
    let south = format!(
        "--service app.south={} {} --reach app.north",
        http.addr(),
        every_way("echo.south", echo.addr())
    );
    let south = site(&ca, "south", hub.listen(), &south).await;
    hub.serves(&["app.north", "app.south", "echo.south"]).await;
    north.serves(&["app.north", "*.south"]).await;
    south.serves(&["app.north", "app.south", "echo.south"]).await;

    for (site, name) in [(&north, "app.south"), (&south, "app.north")] {
        for _ in 0..10 {
            let answer = client::get(site.listen(), "/there", name).await;
            assert_eq!(answer.text(), format!("GET /there\n{name}\n"));
        }
    }
    let mut stream = client::stream_to(north.listen(), "echo.south").await;
    client::assert_carries(&mut stream).await;
    drop(stream);

    let of_hub = hub.quiet().await;
    let success = |name| of_hub.value("ops_proxy_requests_success_total", &[("client_name", name)]);
    assert_eq!((success("app.south"), success("app.north")), (10.0, 10.0));
    assert_eq!(success("echo.south"), 1.0);
    for peer in [&hub, &north, &south] {
        let metrics = peer.metrics().await;
        for name in ["app.south", "echo.south", "*.south", "app.north"] {
            let failed = metrics.value("ops_proxy_requests_failed_total", &[("client_name", name)]);
            assert_eq!(failed, 0.0, "{name}");
        }
        assert_eq!(metrics.value("ops_proxy_data_connections_unexpected_total", &[]), 0.0);
    }
    // One id where it was asked for, where it was routed, and where it was served.
    let ids = |peer: &Peer, name: &str| -> Vec<String> {
        let events = peer.events();
        let ended = events.iter().filter(|one| !one.field("outcome").is_empty());
        let of_name = ended.filter(|one| one.field("name") == name);
        of_name.map(|one| one.field("id").to_owned()).collect()
    };
    until("the access logs of all three", async || {
        let logs = [&north, &hub, &south].map(|peer| ids(peer, "echo.south"));
        (logs[0].len() == 1 && logs.iter().all(|log| *log == logs[0])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_peer_may_not_reach_is_not_there_for_it() {
    let ca = Ca::new("reach");
    let http = Backend::http().await;
    let hub = hub(&ca, &[("branch", "reach = ['app.example']"), ("site", "")]).await;
    let services = format!("--service app.example={0} --service other.example={0}", http.addr());
    let token = ca.write("site", &secret("site"));
    let tls = format!("--tls-ca {} --token-file {}", ca.path("ca.pem").display(), token.display());
    let _site = connecting(hub.listen(), &format!("--peer-id site {services} {tls}")).await;
    hub.serves(&["app.example", "other.example"]).await;
    let branch = site(&ca, "branch", hub.listen(), "--reach *.example").await;
    branch.serves(&["*.example"]).await;

    let status = async |name| client::get(branch.listen(), "/", name).await.status;
    assert_eq!(status("app.example").await, 200);
    assert_eq!(status("other.example").await, 404);
    assert_eq!(status("nothing.example").await, 404);
    let rejected = |reason| [("reason", reason)];
    let metrics = hub.metrics().await;
    assert_eq!(metrics.value("ops_proxy_rejected_total", &rejected("not_permitted")), 2.0);
    for (peer, words) in [(&hub, "may not reach this name"), (&branch, "does not let this peer")] {
        until(&format!("the log to say {words:?}"), async || {
            peer.log().contains(words).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_says_what_its_peer_may_reach() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let pki = async |args: &str| {
        let (code, stdout, stderr) =
            launch().args(&format!("pki {args} --dir {dir}")).start().output().await;
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    pki("init --peer hub --name 127.0.0.1").await;
    pki("issue --peer site --name app.example").await;
    let said = pki("issue --peer branch --reach *.example").await;
    assert!(said.contains("branch with no name, may reach *.example"), "{said}");
    // A renewal keeps it.
    let said = pki("issue --peer branch --force").await;
    assert!(said.contains("may reach *.example"), "{said}");

    let http = Backend::http().await;
    let tls = |id: &str| {
        format!(
            "--peer-id {id} --tls-cert {dir}/{id}.pem --tls-key {dir}/{id}-key.pem --tls-ca {dir}/ca.pem"
        )
    };
    let hub = listening(&tls("hub")).await;
    let service = format!("--service app.example={} {}", http.addr(), tls("site"));
    let _site = connecting(hub.listen(), &service).await;
    hub.serves(&["app.example"]).await;
    let run = format!("run --listen 127.0.0.1:0 --connect {} --reach *.example", hub.listen());
    let branch = launch().args(&format!("{run} {}", tls("branch"))).peer().await;
    branch.serves(&["*.example"]).await;
    assert_eq!(client::get(branch.listen(), "/", "app.example").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    for (args, part) in [
        ("run --listen 127.0.0.1:0 --reach a", "reach: what clients ask for here"),
        ("run --connect 127.0.0.1:1 --reach a", "set connect, and listen, tcp or udp"),
        ("run --listen 127.0.0.1:0 --connect 127.0.0.1:1 --reach a.*.b", "not a routing name"),
    ] {
        let (code, _, stderr) = launch().args(args).start().output().await;
        assert_eq!(code, Some(2), "{args}: {stderr}");
        assert!(stderr.contains(part), "{args}: {stderr}");
    }
}
