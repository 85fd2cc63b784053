//! Servers that everybody knows.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ops_proxy_tests::datagrams;
use ops_proxy_tests::wait::skipped;

use super::port;
use crate::{NAME, connecting, listening};

/// A server of DNS, ended with the test.
struct Dnsmasq(std::process::Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let run = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok()
}

/// What dig says about a host, asked at a port.
async fn dig(port: u16, args: &'static [&'static str]) -> Output {
    let asked = tokio::task::spawn_blocking(move || {
        let port = port.to_string();
        let common = ["@127.0.0.1", "-p", &port, "+tries=1", "+time=10"];
        Command::new("dig").args(common).args(args).output().unwrap()
    });
    asked.await.unwrap()
}

/// A server that answers, at a port that nobody else took meanwhile.
async fn dnsmasq(config: &Path) -> (Dnsmasq, SocketAddr) {
    for _ in 0..10 {
        let reserved = datagrams::socket().await;
        let addr = reserved.local_addr().unwrap();
        drop(reserved);
        let server = Command::new("dnsmasq")
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", config.display()))
            .arg(format!("--port={}", addr.port()))
            .arg("--pid-file=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut server = Dnsmasq(server.unwrap());
        while server.0.try_wait().unwrap().is_none() {
            let direct = dig(addr.port(), &["www.example", "A", "+short"]).await;
            if String::from_utf8_lossy(&direct.stdout).trim() == "192.0.2.80" {
                return (server, addr);
            }
        }
    }
    panic!("dnsmasq found no free port");
}

#[tokio::test]
async fn dig_asks_a_server_of_dns_through_the_tunnel() {
    for program in ["dig", "dnsmasq"] {
        if !is_installed(program) {
            return skipped(&format!("{program} is not installed"));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let many: String = (1..=80).map(|n| format!("txt-record=many.example,{n:0>40}\n")).collect();
    let config = directory.path().join("dnsmasq.conf");
    let settings = "no-resolv\nno-hosts\nlisten-address=127.0.0.1\nbind-interfaces\n\
                    edns-packet-max=4096\nhost-record=www.example,192.0.2.80\n";
    std::fs::write(&config, format!("{settings}{many}")).unwrap();
    let (_server, addr) = dnsmasq(&config).await;

    let public = listening(&port("")).await;
    let service = format!("--service {NAME}/udp={addr}");
    let _behind = connecting(public.listen(), &service).await;
    public.serves(&[NAME]).await;
    let through = public.udp()[0].port();
    let answer = dig(through, &["www.example", "A", "+short"]).await;
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "192.0.2.80");
    let answer = dig(through, &["nobody.example", "A"]).await;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(text.contains("status: REFUSED") || text.contains("status: NXDOMAIN"), "{text}");
    // An answer of some thousand bytes, which is not cut where UDP may carry it whole.
    let answer = dig(through, &["many.example", "TXT", "+short", "+bufsize=4096", "+ignore"]).await;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(text.lines().count() >= 60, "{text}");
    let metrics = public.metrics().await;
    let udp = [("client_name", NAME), ("protocol", "udp")];
    assert_eq!(metrics.value("ops_proxy_requests_total", &udp), 3.0, "three clients");
    assert_eq!(metrics.value("ops_proxy_requests_failed_total", &udp), 0.0);
}
