//! Peers that prove who they are by certificate.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::{self, Link};
use ops_proxy_tests::metrics::Metrics;
use ops_proxy_tests::payload::{Digester, Payload};
use ops_proxy_tests::pki::{Ca, Files, Request};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::{until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{NAME, connecting, idle_data, launch, listening};

const EXPIRY: &str = "ops_proxy_tls_certificate_expiry_timestamp_seconds";

/// A listening peer that can be dialled at 127.0.0.1 with TLS only.
async fn hub(ca: &Ca, more: &str) -> Peer {
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    listening(&format!("--peer-id hub {} {more}", ca.flags(&files))).await
}

/// A peer `id` behind `hub` that serves [`NAME`].
async fn site(ca: &Ca, hub: &Peer, id: &str, backend: SocketAddr) -> Peer {
    let files = ca.issue(id, Request::peer(id, &[NAME]));
    let service = format!("--service {NAME}={backend} --peer-id {id}");
    let site = connecting(hub.listen(), &format!("{service} {}", ca.flags(&files))).await;
    hub.serves(&[NAME]).await;
    site
}

async fn rejected(peer: &Peer, reason: &str) -> f64 {
    peer.metrics().await.value("ops_proxy_rejected_total", &[("reason", reason)])
}

#[tokio::test]
async fn four_commands_make_a_secure_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let init = format!("pki init --dir {dir} --peer hub --name 127.0.0.1");
    let issue = format!("pki issue --dir {dir} --peer site-1 --name {NAME}");
    let mut said = Vec::new();
    for args in [init, issue] {
        let (code, stdout, stderr) = launch().args(&args).start().output().await;
        assert_eq!(code, Some(0), "{stderr}");
        said.push(stdout);
    }
    // What it says is to be typed next, with the addresses of this test.
    let typed = |said: &str, role: &str| {
        let line = said.lines().find(|line| line.contains(role)).unwrap();
        line.trim().strip_prefix("ops-proxy ").unwrap().to_owned()
    };
    let backend = Backend::http().await;
    let listen = typed(&said[0], "--listen").replace(":8443", ":0");
    let hub = launch().args(&listen).peer().await;
    let at = format!("127.0.0.1:{}", hub.listen().port());
    let connect = typed(&said[1], "--connect")
        .replace("HUB:8443", &at)
        .replace("127.0.0.1:8080", &backend.addr().to_string());
    let _site = launch().args(&connect).peer().await;
    hub.serves(&[NAME]).await;
    let answer = client::get(at.parse().unwrap(), "/here", NAME).await;
    assert_eq!(answer.text(), format!("GET /here\n{NAME}\n"));
}

#[tokio::test]
async fn a_peer_that_is_revoked_while_the_mesh_runs_is_let_in_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = |file: &str| dir.path().join(file);
    let pki = async |args: &str| {
        let line = format!("pki {args} --dir {}", dir.path().display());
        let (code, stdout, stderr) = launch().args(&line).start().output().await;
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    pki("init --peer hub --name 127.0.0.1").await;
    pki(&format!("issue --peer site --name {NAME}")).await;
    pki("issue --peer other --name other.example").await;
    let said = pki("revoke").await;
    assert!(said.contains("--tls-crl"), "{said}");
    let tls = |id: &str| {
        let of = |file: &str| path(file).display().to_string();
        let (cert, key, ca) =
            (of(&format!("{id}.pem")), of(&format!("{id}-key.pem")), of("ca.pem"));
        format!("--peer-id {id} --tls-cert {cert} --tls-key {key} --tls-ca {ca}")
    };
    let crl = path("crl.pem");
    let mut hub = listening(&format!("{} --tls-crl {}", tls("hub"), crl.display())).await;
    let to = hub.listen();
    let site = |id: &str, name: &str| {
        let service = format!("--service {name}=127.0.0.1:1");
        let args = format!("{} {service}", tls(id));
        async move { connecting(to, &args).await }
    };
    let _other = site("other", "other.example").await;
    hub.serves(&["other.example"]).await;
    let _trusted = site("site", NAME).await;
    hub.serves(&[NAME, "other.example"]).await;
    hub.until("idle connections of both", |metrics| idle_data(metrics) == 4.0).await;
    pki("revoke --peer site").await;
    hub.process().hang_up();
    hub.until("the list", |metrics| metrics.value("ops_proxy_tls_reloads_total", &[]) == 1.0).await;
    // The link that was open, and the handshake of its return.
    let of_name =
        |metrics: &Metrics, name| metrics.value("ops_proxy_client_up", &[("client_name", name)]);
    let refused = |metrics: &Metrics| {
        metrics.value("ops_proxy_rejected_total", &[("reason", "auth_failed")]) == 1.0
    };
    let metrics = hub.until("the link's refusal", refused).await;
    assert_eq!((of_name(&metrics, NAME), idle_data(&metrics)), (0.0, 2.0));
    hub.until("a refused handshake", |metrics| {
        metrics.value("ops_proxy_rejected_total", &[("reason", "tls_handshake")]) >= 1.0
    })
    .await;
    let metrics = hub.metrics().await;
    assert_eq!(of_name(&metrics, "other.example"), 1.0, "it was not touched");
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[]), 1.0);
}

#[tokio::test]
async fn a_name_that_is_not_in_the_certificate_is_forbidden() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let files = ca.issue("site", Request::peer("site", &["own.example", "*.dev.example"]));
    for (name, answer) in [
        ("own.example", "OK:1"),
        ("a.dev.example", "OK:1"),
        ("*.dev.example", "OK:1"),
        (NAME, "ERROR:name_forbidden:"),
        ("*.example", "ERROR:name_forbidden:"),
    ] {
        let link = Link::on(ca.session(hub.listen(), Some(&files)).await);
        let answered = link.asks("site", name).await;
        assert!(answered.starts_with(answer), "{name}: {answered}");
    }
    // The whole line is refused for one bad name of three, and the link with it.
    let mut link = Link::on(ca.session(hub.listen(), Some(&files)).await);
    link.send(&format!("HELLO:1:site\nREGISTER:own.example,{NAME},a.dev.example")).await;
    link.welcomed().await;
    assert!(link.line().await.starts_with("ERROR:name_forbidden:"));
    // Nor may it speak of the health of what it may not register.
    let mut link = Link::on(ca.session(hub.listen(), Some(&files)).await);
    link.send(&format!("HELLO:1:site\nUNREGISTER:own.example;unhealthy=9,{NAME};unhealthy=9"))
        .await;
    link.welcomed().await;
    assert_eq!(link.line().await, format!("ERROR:name_forbidden:{NAME}"));
    hub.serves(&[]).await;
    assert_eq!(rejected(&hub, "name_forbidden").await, 4.0);
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 404, "never known");
}

#[tokio::test]
async fn a_certificate_that_is_missing_bad_or_foreign_ends_the_handshake() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let crl = ca.revoke(7);
    let hub = hub(&ca, &format!("--tls-crl {}", crl.display())).await;
    let peer = || Request::peer("site", &[NAME]);
    let mut count = 0.0;
    for (why, files) in [
        ("missing", None),
        ("expired", Some(ca.issue("expired", peer().until(2020)))),
        ("of another CA", Some(other.issue("foreign", peer()))),
        ("for servers only", Some(ca.issue("server", peer().server_only()))),
        ("revoked", Some(ca.issue("revoked", peer().serial(7)))),
    ] {
        let mut link = Link::on(ca.session(hub.listen(), files.as_ref()).await);
        // The other end may have left within our line.
        link.try_send("HELLO:1:site").await;
        assert!(link.breaks().await, "{why}");
        count += 1.0;
        hub.until(why, |metrics| {
            metrics.value("ops_proxy_rejected_total", &[("reason", "tls_handshake")]) == count
        })
        .await;
    }
    let good = ca.issue("good", peer().serial(8));
    let link = Link::on(ca.session(hub.listen(), Some(&good)).await);
    assert_eq!(link.asks("site", NAME).await, "OK:1");
}

#[tokio::test]
async fn who_says_hello_must_be_whom_the_certificate_names() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let site = ca.issue("site", Request::peer("site", &[NAME]));
    let nobody = ca.issue("nobody", Request::nobody(&[NAME]));
    let mut answers = Vec::new();
    let unknown_token = format!("site:{}", "0".repeat(64));
    for (files, hello) in [(&site, "other"), (&nobody, "site"), (&site, &*unknown_token)] {
        let link = Link::on(ca.session(hub.listen(), Some(files)).await);
        answers.push(link.asks(hello, NAME).await);
    }
    assert!(answers[0].starts_with("ERROR:unauthorized:"), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one text: {answers:?}");
    assert_eq!(rejected(&hub, "auth_failed").await, 3.0);
    assert_eq!(hub.metrics().await.value("ops_proxy_clients_total", &[]), 0.0);
}

#[tokio::test]
async fn a_stolen_id_is_of_no_use_to_another_identity() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let site = ca.issue("site", Request::peer("site", &[NAME]));
    let thief = ca.issue("thief", Request::peer("thief", &[NAME]));
    let session = |files: Files| {
        let (ca, to) = (&ca, hub.listen());
        async move { ca.session(to, Some(&files)).await }
    };
    let mut peer = Link::register_on(session(site.clone()).await, "site", &[NAME]).await;
    let mut client = connect(hub.listen()).await;
    let request = client::get_request("/", NAME);
    client.write_all(request.as_bytes()).await.unwrap();
    let id = peer.forward().await.proxy_id;

    let mut stolen = link::data(session(thief).await, &id).await;
    let end = within("the end", stolen.read(&mut [0; 64])).await;
    assert!(end.is_err() || end.is_ok_and(|read| read == 0), "not a byte of the request");
    let unexpected = "ops_proxy_data_connections_unexpected_total";
    assert_eq!(hub.metrics().await.value(unexpected, &[]), 1.0);

    let mut data = link::data(session(site).await, &id).await;
    let mut head = vec![0; request.len()];
    within("the request", data.read_exact(&mut head)).await.unwrap();
    data.write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    data.shutdown().await.unwrap();
    assert_eq!(client::last_answer(&mut client).await.status, 204);
    drop((client, data));
    let metrics = hub.quiet().await;
    assert_eq!(metrics.value("ops_proxy_data_connections_matched_total", &[]), 1.0);
    assert_eq!(metrics.value(unexpected, &[]), 1.0);
}

#[tokio::test]
async fn a_listening_peer_that_is_not_who_was_dialled_gets_nothing() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let foreign = other.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let elsewhere = ca.issue("elsewhere", Request::peer("hub", &["hub.example"]));
    for (ca_of_hub, files) in [(&other, foreign), (&ca, elsewhere)] {
        let hub = listening(&ca_of_hub.flags(&files)).await;
        let site = ca.issue("site", Request::peer("site", &[NAME]));
        let flags = format!("--peer-id site --service {NAME}=127.0.0.1:1 {}", ca.flags(&site));
        let site = connecting(hub.listen(), &flags).await;
        until("a refused handshake", async || {
            let mut events = site.events().into_iter();
            events.find(|event| event.message() == "cannot dial the listening peer")
        })
        .await;
        assert_eq!(hub.metrics().await.value("ops_proxy_clients_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn an_error_as_the_first_line_is_not_answered() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    let mut link = Link::on(ca.session(hub.listen(), Some(&files)).await);
    link.send("ERROR:bad_line:no").await;
    assert!(link.breaks().await, "closed, and nothing answered");
    assert_eq!(rejected(&hub, "unexpected_command").await, 1.0);
}

#[tokio::test]
async fn a_plaintext_peer_is_refused_where_tls_is_set_up() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let answered = Link::on(connect(hub.listen()).await).asks("site", NAME).await;
    assert!(answered.starts_with("ERROR:unauthorized:"), "{answered}");
    assert_eq!(rejected(&hub, "plaintext_peer").await, 1.0);
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_the_deadline_and_delays_nobody() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, "").await;
    let hello = ops_proxy_tests::hello::first_bytes_of(ca.client(None), "127.0.0.1");
    let mut stream = connect(hub.listen()).await;
    stream.write_all(&hello).await.unwrap();
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    let other = Link::on(ca.session(hub.listen(), Some(&files)).await);
    assert_eq!(other.asks("site", NAME).await, "OK:1");
    assert_eq!(rejected(&hub, "handshake_timeout").await, 0.0, "the other one still waits");
    let _ = client::to_end(&mut stream).await;
    // The connection closes a moment before it is counted.
    hub.until("the handshake to be counted", |metrics| {
        metrics.value("ops_proxy_rejected_total", &[("reason", "handshake_timeout")]) == 1.0
    })
    .await;
}

/// Ten mebibytes a direction, each closed on its own, in either order.
#[tokio::test]
async fn half_close_passes_through_tls_both_ways() {
    const BYTES: usize = 10 * 1024 * 1024;
    let ca = Ca::new("ca");
    let hub = hub(&ca, &format!("--tcp 127.0.0.1:0={NAME}")).await;
    let (listener, addr) = backend::listener().await;
    let _site = site(&ca, &hub, "site", addr).await;
    for client_first in [true, false] {
        let client = connect(hub.tcp()[0]).await;
        let backend = backend::accept(&listener).await;
        let (mut first, mut second) =
            if client_first { (client, backend) } else { (backend, client) };
        for (seed, from_first) in [(1, true), (2, false)] {
            let (sender, receiver) =
                if from_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
            let send = async {
                Payload::new(seed, BYTES).send(sender).await.unwrap();
                sender.shutdown().await.unwrap();
            };
            let receive = async {
                let mut digester = Digester::default();
                digester.take(receiver, BYTES).await.unwrap();
                assert_eq!(receiver.read(&mut [0; 1]).await.unwrap(), 0, "a clean end");
                digester.hex()
            };
            let ((), hash) = within("a direction", async { tokio::join!(send, receive) }).await;
            assert_eq!(hash, Payload::new(seed, BYTES).sha256());
        }
    }
    let metrics = hub.quiet().await;
    let tcp = [("client_name", NAME), ("protocol", "tcp")];
    assert_eq!(metrics.value("ops_proxy_requests_success_total", &tcp), 2.0);
    let bytes = [("client_name", NAME)];
    let both = 2.0 * BYTES as f64;
    assert_eq!(metrics.value("ops_proxy_connections_bytes_tx_total", &bytes), both);
    assert_eq!(metrics.value("ops_proxy_connections_bytes_rx_total", &bytes), both);
}

/// By hand, so that the TCP connection can end without close_notify.
#[tokio::test]
async fn a_cut_inside_tls_is_never_a_clean_end() {
    let ca = Ca::new("ca");
    let hub = hub(&ca, &format!("--tcp 127.0.0.1:0={NAME}")).await;
    let files = ca.issue("site", Request::peer("site", &[NAME]));
    let session = ca.session(hub.listen(), Some(&files)).await;
    let mut peer = Link::register_on(session, "site", &[NAME]).await;
    let mut client = connect(hub.tcp()[0]).await;
    let id = peer.forward().await.proxy_id;
    let mut data = link::data(ca.session(hub.listen(), Some(&files)).await, &id).await;
    data.write_all(b"half of it").await.unwrap();
    data.flush().await.unwrap();
    let mut half = [0; 10];
    within("the first half", client.read_exact(&mut half)).await.unwrap();
    let (mut tcp, _) = data.into_inner();
    tcp.shutdown().await.unwrap();
    let error = client::to_end(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let metrics = hub.quiet().await;
    let broken = [("client_name", NAME), ("reason", "data_io_error")];
    assert_eq!(metrics.value("ops_proxy_proxy_errors_total", &broken), 1.0);
}

async fn shown_by(ca: &Ca, hub: &Peer, files: &Files) -> Vec<u8> {
    let session = ca.session(hub.listen(), Some(files)).await;
    session.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn certificates_replaced_on_disk_serve_new_handshakes_and_streams_survive() {
    let ca = Ca::new("ca");
    let mut hub = hub(&ca, &format!("--tcp 127.0.0.1:0={NAME}")).await;
    let echo = Backend::echo().await;
    let mut behind = site(&ca, &hub, "site", echo.addr()).await;
    let asking = ca.issue("asking", Request::peer("asking", &[NAME]));
    let mut running = connect(hub.tcp()[0]).await;
    assert_echoes(&mut running).await;

    let before = shown_by(&ca, &hub, &asking).await;
    ca.issue("hub", Request::peer("hub", &["127.0.0.1"]).until(2080));
    ca.issue("site", Request::peer("site", &[NAME]).until(2080));
    for peer in [&mut hub, &mut behind] {
        peer.process().hang_up();
        peer.until("the new certificate", |metrics| {
            // 1 January 2080, in seconds since the epoch.
            metrics.value(EXPIRY, &[("certificate", "peer")]) == 3_471_292_800.0
        })
        .await;
    }
    assert_ne!(shown_by(&ca, &hub, &asking).await, before);
    assert_echoes(&mut running).await;
    assert_echoes(&mut connect(hub.tcp()[0]).await).await;
    let metrics = hub.metrics().await;
    assert!(metrics.value("ops_proxy_tls_reloads_total", &[]) >= 1.0);
    assert_eq!(metrics.value("ops_proxy_client_disconnects_total", &[]), 0.0);
}

async fn assert_echoes(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    within("an echo", stream.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"ping");
}

#[tokio::test]
async fn a_corrupt_file_is_counted_once_and_what_was_loaded_stays() {
    let ca = Ca::new("ca");
    let mut hub = hub(&ca, "").await;
    let site = ca.issue("site", Request::peer("site", &[NAME]));
    let before = shown_by(&ca, &hub, &site).await;
    ca.write("hub.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    let failed = "ops_proxy_tls_reload_failed_total";
    hub.process().hang_up();
    hub.until("the failed reload", |metrics| metrics.value(failed, &[]) == 1.0).await;
    assert_eq!(shown_by(&ca, &hub, &site).await, before);
    // Mended, it is taken.
    ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    hub.process().hang_up();
    hub.until("the reload", |metrics| metrics.value("ops_proxy_tls_reloads_total", &[]) >= 1.0)
        .await;
    assert_ne!(shown_by(&ca, &hub, &site).await, before);
}

#[tokio::test]
async fn files_that_do_not_fit_are_found_by_check_and_by_run() {
    let ca = Ca::new("ca");
    let hub = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let other = ca.issue("other", Request::peer("other", &["127.0.0.1"]));
    let mixed = Files { cert: hub.cert.clone(), key: other.key.clone() };
    let gone = Files { cert: Path::new("/nowhere/at/all").to_owned(), key: hub.key.clone() };
    let connect = format!("--connect 127.0.0.1:1 --service {NAME}=127.0.0.1:1 --peer-id site");
    for command in ["check", "run"] {
        for (args, word) in [
            (format!("--listen 127.0.0.1:0 {}", ca.flags(&mixed)), "tls_key: "),
            (format!("--listen 127.0.0.1:0 {}", ca.flags(&gone)), "tls_cert: /nowhere/at/all"),
            (format!("{connect} {}", ca.flags(&hub)), "peer_id: "),
        ] {
            let line = format!("{command} {args} --admin none");
            let (code, _, stderr) = launch().args(&line).start().output().await;
            assert_eq!(code, Some(2), "{line}: {stderr}");
            assert!(stderr.contains(word), "{line}: {stderr}");
        }
    }
    let good = format!("check --listen 127.0.0.1:0 {}", ca.flags(&hub));
    let (code, stdout, stderr) = launch().args(&good).start().output().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("certificate from tls_ca"), "{stdout}");
}
