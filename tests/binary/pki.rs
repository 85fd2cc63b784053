//! `ops-proxy pki` as an operator uses it: what it records, renews, revokes and
//! refuses.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ops_proxy_tests::hello;
use ops_proxy_tests::link::Link;
use ops_proxy_tests::process::Process;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{NAME, launch, listening};

/// A CA in a directory of its own.
struct Pki(TempDir);

/// One line of `pki list`.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    serial: String,
    peer: String,
    names: String,
    state: String,
}

impl Pki {
    /// With a CA of the trust domain `mesh.example`.
    async fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.run("init --trust-domain mesh.example").await;
        pki
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    fn start(&self, args: &str) -> Process {
        launch().args(&format!("pki {args} --dir {}", self.0.path().display())).start()
    }

    /// What a command says that succeeds.
    async fn run(&self, args: &str) -> String {
        let (code, stdout, stderr) = self.start(args).output().await;
        assert_eq!(code, Some(0), "{args}: {stderr}");
        stdout
    }

    /// The exit code and the error of a command that fails.
    async fn fails(&self, args: &str) -> (Option<i32>, String) {
        let (code, stdout, stderr) = self.start(args).output().await;
        assert_eq!(stdout, "", "{args}");
        (code, stderr)
    }

    async fn list(&self) -> Vec<Listed> {
        let list = self.run("list").await;
        let mut lines = list.lines();
        let headings: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(headings, ["SERIAL", "PEER", "NAMES", "ISSUED", "UNTIL", "STATE"]);
        let listed = lines.map(|line| {
            let cells: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let Ok([serial, peer, names, _, _, state]) = <[String; 6]>::try_from(cells) else {
                panic!("six columns: {line}");
            };
            Listed { serial, peer, names, state }
        });
        listed.collect()
    }

    /// The certificate of a peer, its chain and its key, as they are now.
    fn of_peer(&self, id: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{id}.pem"))).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{id}-key.pem"))).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"ops-proxy/1".to_vec()];
        Arc::new(config)
    }
}

async fn session(to: SocketAddr, config: &Arc<ClientConfig>) -> Link<TlsStream<TcpStream>> {
    let handshake = hello::handshake(to, "127.0.0.1", Arc::clone(config));
    Link::on(handshake.await.expect("the listening peer's certificate is good"))
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_renewal_keeps_the_names_and_is_another_certificate() {
    let pki = Pki::new().await;
    let (code, error) = pki.fails("issue --peer site").await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("first certificate of site") && error.contains("--name"), "{error}");
    pki.run(&format!("issue --peer site --name {NAME} --name *.dev.example")).await;
    pki.run("issue --peer site --force").await;
    let listed = pki.list().await;
    assert_eq!(listed.len(), 2);
    assert_ne!(listed[0].serial, listed[1].serial);
    for one in &listed {
        let (peer, names, state) = (one.peer.as_str(), one.names.as_str(), one.state.as_str());
        assert_eq!((peer, names, state), ("site", "app.example,*.dev.example", "valid"));
    }
    // What a verifier reads in the renewed file is what the list says.
    let pem = CertificateDer::from_pem_file(pki.path("site.pem")).unwrap();
    let serial = u128::from_str_radix(&listed[1].serial, 16).unwrap().to_be_bytes();
    assert!(pem.windows(serial.len()).any(|bytes| bytes == serial), "its serial number");
}

#[tokio::test]
async fn a_peer_that_is_revoked_is_refused_with_a_certificate_from_before_its_renewal_too() {
    let pki = Pki::new().await;
    pki.run("issue --peer hub --name 127.0.0.1").await;
    pki.run("issue --peer other --name other.example").await;
    pki.run(&format!("issue --peer site --name {NAME}")).await;
    let stolen = pki.of_peer("site");
    pki.run("issue --peer site --force").await;
    let (renewed, other) = (pki.of_peer("site"), pki.of_peer("other"));
    pki.run("revoke").await;

    let tls = |flag: &str, file: &str| format!(" --tls-{flag} {}", pki.path(file));
    let files = [("cert", "hub.pem"), ("key", "hub-key.pem"), ("ca", "ca.pem"), ("crl", "crl.pem")];
    let flags: String = files.iter().map(|(flag, file)| tls(flag, file)).collect();
    let mut hub = listening(&format!("--peer-id hub{flags}")).await;
    for config in [&stolen, &renewed] {
        let answer = session(hub.listen(), config).await.asks("site", NAME).await;
        assert_eq!(answer, "OK:1", "not revoked yet");
    }

    pki.run("revoke --peer site").await;
    hub.process().hang_up();
    hub.until("the list", |metrics| metrics.value("ops_proxy_tls_reloads_total", &[]) == 1.0).await;
    for config in [&stolen, &renewed] {
        let mut link = session(hub.listen(), config).await;
        // The other end may have left within our line.
        link.try_send("HELLO:1:site").await;
        assert!(link.breaks().await);
    }
    hub.until("two refused handshakes", |metrics| {
        metrics.value("ops_proxy_rejected_total", &[("reason", "tls_handshake")]) == 2.0
    })
    .await;
    let answer = session(hub.listen(), &other).await.asks("other", "other.example").await;
    assert_eq!(answer, "OK:1", "it was not touched");
    let states: Vec<_> =
        pki.list().await.into_iter().map(|listed| (listed.peer, listed.state)).collect();
    let expected = [("hub", "valid"), ("other", "valid"), ("site", "revoked"), ("site", "revoked")];
    assert_eq!(states, expected.map(|(peer, state)| (peer.to_owned(), state.to_owned())));
}

#[tokio::test]
async fn one_certificate_is_revoked_by_the_serial_that_the_list_shows() {
    let pki = Pki::new().await;
    pki.run("issue --peer site --name app.example").await;
    pki.run("issue --peer site --force").await;
    let serial = pki.list().await[0].serial.to_uppercase();
    let said = pki.run(&format!("revoke --serial {serial}")).await;
    assert!(said.contains("1 revoked in total"), "{said}");
    let states: Vec<_> = pki.list().await.into_iter().map(|listed| listed.state).collect();
    assert_eq!(states, ["revoked", "valid"]);
    for (args, named) in [("--serial 0b", "serial: "), ("--peer nobody", "peer: ")] {
        let (code, error) = pki.fails(&format!("revoke {args}")).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(named) && error.contains("pki list"), "{error}");
    }
    let (code, error) = pki.fails(&format!("revoke --peer site --serial {serial}")).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("cannot be used with"), "{error}");
}

#[tokio::test]
async fn a_ca_is_not_replaced_by_force_alone() {
    let pki = Pki::new().await;
    pki.run("issue --peer site --name app.example").await;
    let before = contents(pki.0.path());
    for more in ["", " --replace-ca other.example"] {
        let (code, error) = pki.fails(&format!("init --force{more}")).await;
        assert_eq!(code, Some(2), "{error}");
        for part in ["worthless (unexpired: 1)", "--replace-ca mesh.example"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(contents(pki.0.path()) == before, "nothing was changed");
    }
    pki.run("init --force --replace-ca mesh.example").await;
    assert!(fs::read(pki.path("ca.pem")).unwrap() != fs::read(pki.path("ca.pem.old")).unwrap());
    let said = pki.run("list").await;
    assert!(said.contains("no certificates yet"), "{said}");
}

#[tokio::test]
async fn a_name_that_no_verifier_accepts_is_refused() {
    let pki = Pki::new().await;
    let (code, error) = pki.fails("issue --peer site --name *.local").await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("single label"), "{error}");
}

#[tokio::test]
async fn certificates_issued_at_the_same_time_are_all_recorded() {
    let pki = Pki::new().await;
    let issues: Vec<_> =
        (0..8).map(|n| pki.start(&format!("issue --peer p{n} --name p{n}.example"))).collect();
    for issue in issues {
        let (code, _, stderr) = issue.output().await;
        assert_eq!(code, Some(0), "{stderr}");
    }
    // The record itself, without the certificates that lie beside it.
    for n in 0..8 {
        fs::remove_file(pki.path(&format!("p{n}.pem"))).unwrap();
    }
    let mut peers: Vec<_> = pki.list().await.into_iter().map(|listed| listed.peer).collect();
    peers.sort();
    assert_eq!(peers, ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"]);
}
