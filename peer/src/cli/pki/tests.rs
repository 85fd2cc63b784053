use std::fs;

use clap::Parser;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::server::ParsedCertificate;
use tempfile::TempDir;
use tokio_rustls::rustls;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::subject::is_single_label_wildcard;
use super::*;
use crate::auth::{Identity, Permission, certificate_identity};
use crate::limits::{CERTIFICATE_BACKDATE, DAY};
use crate::names::Name;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Runs a command line in `dir`; what it says.
fn said(dir: &TempDir, line: &str) -> Result<String, Failure> {
    let dir = dir.path().to_str().unwrap();
    let words = ["pki"].into_iter().chain(line.split_whitespace()).chain(["--dir", dir]);
    match Line::try_parse_from(words).unwrap().command {
        Command::Init(init) => init.run(),
        Command::Issue(issue) => issue.run(),
        Command::Revoke(revoke) => revoke.run(),
    }
}

fn certificate(dir: &TempDir, file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.path().join(file)).unwrap()
}

fn with_ca() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    said(&dir, "init --trust-domain mesh.example").unwrap();
    dir
}

#[test]
fn a_certificate_speaks_for_its_peer_and_its_names_only() {
    let dir = with_ca();
    said(&dir, "issue --peer site-1 --name app.example --name *.dev.example --name [::1]").unwrap();
    let certificate = certificate(&dir, "site-1.pem");
    let identity = Identity::Certificate {
        trust_domain: "mesh.example".to_owned(),
        peer: "site-1".parse().unwrap(),
    };
    assert_eq!(certificate_identity(&certificate), Some(identity));
    let permission = Permission::Certificate(certificate);
    for (name, permitted) in [
        ("app.example", true),
        ("a.dev.example", true),
        ("*.dev.example", true),
        ("[::1]", true),
        ("dev.example", false),
        ("*.example", false),
        ("site-1", false),
        ("127.0.0.1", false),
    ] {
        assert_eq!(permission.permits(&name.parse().unwrap()), permitted, "{name}");
    }
}

#[test]
fn a_ca_signs_peers_and_no_further_ca() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name a.example --days 1").unwrap();
    let (ca, peer) = (certificate(&dir, "ca.pem"), certificate(&dir, "p.pem"));
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    let (_, peer) = X509Certificate::from_der(&peer).unwrap();
    let constraints = ca.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
    assert!(ca.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(!peer.is_ca());
    let usage = peer.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    assert!(peer.key_usage().unwrap().unwrap().value.digital_signature());
    assert_ne!(ca.raw_serial(), peer.raw_serial());
    assert_eq!(peer.raw_serial().len(), 16);
    let validity = peer.validity();
    let lasts = validity.not_after.timestamp() - validity.not_before.timestamp();
    let day = i64::try_from((DAY + CERTIFICATE_BACKDATE).as_secs()).unwrap();
    assert_eq!(lasts, day);
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name a.example").unwrap();
    let contents = || {
        ["ca.pem", "ca-key.pem", "p.pem", "p-key.pem"]
            .map(|file| fs::read_to_string(dir.path().join(file)).unwrap())
    };
    let before = contents();
    for line in ["init", "issue --peer p --name b.example"] {
        let error = said(&dir, line).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
    }
    assert_eq!(contents(), before);
    said(&dir, "issue --peer p --name b.example --force").unwrap();
    let after = contents();
    assert_eq!(after[..2], before[..2], "the CA stays");
    assert!(after[2] != before[2] && after[3] != before[3]);
}

#[test]
fn a_certificate_alone_is_in_the_way_and_no_key_is_left_beside_it() {
    let dir = with_ca();
    fs::write(dir.path().join("p.pem"), "mine").unwrap();
    said(&dir, "issue --peer p --name a.example").unwrap_err();
    assert!(!dir.path().join("p-key.pem").exists());
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = with_ca();
    said(&dir, "issue --peer p --name a.example").unwrap();
    said(&dir, "issue --peer p --name a.example --force").unwrap();
    for file in ["ca-key.pem", "p-key.pem"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn ids_whose_files_would_be_others_are_refused() {
    let dir = with_ca();
    for id in ["ca", "crl", "ca-key", "p-key"] {
        let error = said(&dir, &format!("issue --peer {id} --name a.example --force")).unwrap_err();
        assert!(matches!(&error, Failure::Config(error) if error.key == "peer"), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    said(&empty, "init --peer ca --name a.example").unwrap_err();
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "all or nothing");
}

#[test]
fn errors_name_what_is_wrong_and_quote_no_key() {
    let empty = tempfile::tempdir().unwrap();
    let missing = said(&empty, "issue --peer p --name a.example").unwrap_err().to_string();
    assert!(missing.contains("ca.pem") && missing.contains("pki init"), "{missing}");

    let dir = with_ca();
    let late = said(&dir, "issue --peer p --name a.example --days 3651").unwrap_err();
    assert!(matches!(&late, Failure::Config(error) if error.key == "days"), "{late}");

    let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("ca-key.pem"));
    let other = fs::read_to_string(with_ca().path().join("ca-key.pem")).unwrap();
    let secret = other.lines().nth(1).unwrap();
    for (path, contents) in [(&key, other.as_str()), (&key, secret), (&ca, "")] {
        fs::write(path, contents).unwrap();
        let error = said(&dir, "issue --peer p --name a.example").unwrap_err().to_string();
        assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn what_to_type_next_is_whole_and_can_be_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let said = said(&dir, "init --peer hub --name *.hub.example").unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    for part in [
        "ops-proxy run --peer-id hub --listen 0.0.0.0:8443".to_owned(),
        "--connect HUB:8443 --service '*.hub.example'=127.0.0.1:8080".to_owned(),
        format!("--tls-cert {}", file("hub.pem")),
        format!("--tls-key {}", file("hub-key.pem")),
        format!("--tls-ca {}", file("ca.pem")),
    ] {
        assert!(said.contains(&part), "{part:?} is not in {said}");
    }
    assert_eq!(quoted(Path::new("a b's")), "'a b'\\''s'");
}

#[test]
fn names_and_trust_domains_are_checked() {
    for (text, shown) in [("::1", "[::1]"), ("[::1]", "[::1]"), ("10.0.0.1", "10.0.0.1")] {
        let subject = text.parse::<Subject>().unwrap();
        assert!(matches!(subject, Subject::Address(_)), "{text}");
        assert_eq!(subject.to_string(), shown);
    }
    for text in ["", "a b", "_x", "a.*.b", "spiffe://x"] {
        assert!(text.parse::<Subject>().is_err(), "{text:?}");
    }
    for text in ["", "A", "a/b", "ä"] {
        assert!(text.parse::<TrustDomain>().is_err(), "{text:?}");
    }
}

/// The serial numbers on the list, and the list's own number.
fn revoked(dir: &TempDir) -> (Vec<Vec<u8>>, Vec<u8>) {
    let list = CertificateRevocationListDer::from_pem_file(dir.path().join("crl.pem")).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
    let serials = list.iter_revoked_certificates().map(|one| one.serial().to_bytes_be());
    (serials.collect(), list.crl_number().unwrap().to_bytes_be())
}

fn serial(dir: &TempDir, file: &str) -> Vec<u8> {
    let certificate = certificate(dir, file);
    let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
    parsed.serial.to_bytes_be()
}

#[test]
fn a_list_keeps_what_it_held_and_counts_up() {
    let dir = with_ca();
    for peer in ["a", "b"] {
        said(&dir, &format!("issue --peer {peer} --name {peer}.example")).unwrap();
    }
    let (a, b) = (serial(&dir, "a.pem"), serial(&dir, "b.pem"));
    said(&dir, "revoke").unwrap();
    assert_eq!(revoked(&dir), (vec![], vec![1]));
    said(&dir, "revoke --peer a").unwrap();
    assert_eq!(revoked(&dir), (vec![a.clone()], vec![2]));
    said(&dir, "revoke --peer b").unwrap();
    said(&dir, "revoke --peer a").unwrap();
    assert_eq!(revoked(&dir), (vec![a.clone(), b.clone()], vec![4]), "nobody twice");

    // A new certificate of the same peer is another one, which may be revoked too.
    said(&dir, "issue --peer a --name a.example --force").unwrap();
    let renewed = serial(&dir, "a.pem");
    assert!(!revoked(&dir).0.contains(&renewed));
    said(&dir, "revoke --peer a").unwrap();
    assert_eq!(revoked(&dir), (vec![a, b, renewed], vec![5]));
}

#[test]
fn what_is_not_of_this_ca_is_neither_revoked_nor_carried_on() {
    let (dir, other) = (with_ca(), tempfile::tempdir().unwrap());
    said(&other, "init --trust-domain other.example --peer p --name p.example").unwrap();
    said(&other, "revoke --peer p").unwrap();
    let path = |dir: &TempDir, file: &str| dir.path().join(file);
    let missing = said(&dir, "revoke --peer p").unwrap_err().to_string();
    assert!(missing.contains("p.pem"), "{missing}");
    fs::copy(path(&other, "p.pem"), path(&dir, "p.pem")).unwrap();
    let foreign = said(&dir, "revoke --peer p").unwrap_err().to_string();
    assert!(foreign.contains("p.pem: is a certificate of another CA"), "{foreign}");
    said(&dir, "issue --peer q --name q.example").unwrap();
    fs::copy(path(&dir, "q.pem"), path(&dir, "p.pem")).unwrap();
    let wrong = said(&dir, "revoke --peer p").unwrap_err().to_string();
    assert!(wrong.contains("p.pem: is not the certificate of p"), "{wrong}");
    assert!(!path(&dir, "crl.pem").exists(), "a failure writes nothing");

    for (contents, why) in [
        (fs::read(path(&other, "crl.pem")).unwrap(), "is the list of another CA"),
        (b"nonsense".to_vec(), "holds no revocation list"),
    ] {
        fs::write(path(&dir, "crl.pem"), &contents).unwrap();
        let error = said(&dir, "revoke --peer q").unwrap_err().to_string();
        assert!(error.contains(&format!("crl.pem: {why}")), "{error}");
        assert_eq!(fs::read(path(&dir, "crl.pem")).unwrap(), contents, "it stays");
    }
}

#[test]
fn a_wildcard_of_a_single_label_is_refused_because_verifiers_refuse_it() {
    let accepts = |pattern: &str, name: &'static str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([pattern.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let parsed = ParsedCertificate::try_from(certificate.der()).unwrap();
        verify_server_name(&parsed, &ServerName::try_from(name).unwrap()).is_ok()
    };
    for (pattern, name) in [
        ("*.local", "a.local"),
        ("*.example", "a.example"),
        ("*.mesh.local", "a.mesh.local"),
        ("*.a.b.c", "x.a.b.c"),
        ("local", "local"),
        ("a.local", "a.local"),
    ] {
        let useless = is_single_label_wildcard(&Name::registered(pattern).unwrap());
        assert_eq!(accepts(pattern, name), !useless, "{pattern}");
        assert_eq!(pattern.parse::<Subject>().is_err(), useless, "{pattern}");
    }
    let words = ["pki", "issue", "--peer", "p", "--name", "*.local"];
    let error = Line::try_parse_from(words).unwrap_err().to_string();
    assert!(error.contains("single label") && error.contains("*.mesh.local"), "{error}");
}
