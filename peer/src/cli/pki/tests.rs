use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;

use clap::Parser;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::server::ParsedCertificate;
use tempfile::TempDir;
use tokio_rustls::rustls;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use std::path::Path;

use super::arguments::*;
use super::authority::Authority;
use super::issued::Issued;
use super::serial::Serial;
use super::subject::{Subject, TrustDomain};
use super::*;
use crate::limits::{CERTIFICATE_BACKDATE, DAY};
use crate::names::Name;
use crate::trust::{Identity, Permission, certificate_identity};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn parsed(dir: &TempDir, line: &str) -> Result<Command, clap::Error> {
    let dir = dir.path().to_str().unwrap();
    let words = ["pki"].into_iter().chain(line.split_whitespace()).chain(["--dir", dir]);
    Line::try_parse_from(words).map(|line| line.command)
}

/// Runs a command line in `dir`, where nobody is at the terminal; what it says.
fn said(dir: &TempDir, line: &str) -> Result<String, Failure> {
    parsed(dir, line).unwrap().run(|_| Ok(None))
}

/// The text of the error that a command line ends with.
fn refused(dir: &TempDir, line: &str) -> String {
    said(dir, line).unwrap_err().to_string()
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
fn what_another_ca_made_is_neither_revoked_nor_continued() {
    // Of the same name, as the CA that replaces another often is.
    let (dir, other) = (with_ca(), with_ca());
    said(&other, "issue --peer p --name p.example").unwrap();
    said(&other, "revoke --peer p").unwrap();
    let path = |dir: &TempDir, file: &str| dir.path().join(file);
    for copied in [false, true] {
        if copied {
            fs::copy(path(&other, "p.pem"), path(&dir, "p.pem")).unwrap();
        }
        let error = refused(&dir, "revoke --peer p");
        assert!(error.contains("no certificate to p") && error.contains("pki list"), "{error}");
    }
    assert!(!path(&dir, "crl.pem").exists(), "a failure writes nothing");

    said(&dir, "issue --peer q --name q.example").unwrap();
    for (contents, why) in [
        (fs::read(path(&other, "crl.pem")).unwrap(), "is the list of another CA"),
        (b"nonsense".to_vec(), "does not contain a revocation list"),
    ] {
        fs::write(path(&dir, "crl.pem"), &contents).unwrap();
        for line in ["revoke --peer q", "list"] {
            let error = refused(&dir, line);
            assert!(error.contains(&format!("crl.pem: {why}")), "{error}");
        }
        assert_eq!(fs::read(path(&dir, "crl.pem")).unwrap(), contents, "it stays");
    }
}

/// The contents of each file in `dir`.
fn files(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    });
    named.filter(|(name, _)| name != ".lock").collect()
}

/// Changes the record as nobody but a test would.
fn edit_index(dir: &TempDir, from: &str, to: &str) {
    let path = dir.path().join("issued.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The line of `pki list` for each certificate, as its cells.
fn listed(dir: &TempDir) -> Vec<Vec<String>> {
    let list = said(dir, "list").unwrap();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    list.lines().skip(1).map(cells).collect()
}

fn hex(serial: &[u8]) -> String {
    Serial::from_bytes(serial).to_string()
}

#[test]
fn every_certificate_is_recorded_with_its_serial_peer_names_and_dates() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name *.a.example --name [::1] --name 10.0.0.1").unwrap();
    let first = serial(&dir, "p.pem");
    said(&dir, "issue --peer p --name b.example --days 1 --force").unwrap();
    let text = fs::read_to_string(dir.path().join("issued.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let records = table["certificate"].as_array().unwrap();
    let all = |key: &str| -> Vec<_> { records.iter().map(|record| record[key].clone()).collect() };
    assert_eq!(all("serial"), [hex(&first), hex(&serial(&dir, "p.pem"))].map(Into::into));
    assert_eq!(all("peer"), ["p", "p"].map(Into::into));
    let names = [vec!["*.a.example", "[::1]", "10.0.0.1"], vec!["b.example"]];
    assert_eq!(all("names"), names.map(Into::into));
    let newest = certificate(&dir, "p.pem");
    let (_, newest) = X509Certificate::from_der(&newest).unwrap();
    for (key, time) in
        [("not_before", newest.validity().not_before), ("not_after", newest.validity().not_after)]
    {
        let recorded = records[1][key].as_datetime().unwrap().to_string();
        let recorded = humantime::parse_rfc3339(&recorded).unwrap();
        let since = recorded.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), u64::try_from(time.timestamp()).unwrap(), "{key}");
    }
}

#[test]
fn a_renewal_keeps_the_names_unless_told_others() {
    let dir = with_ca();
    let first = refused(&dir, "issue --peer p");
    assert!(first.contains("first certificate of p") && first.contains("--name"), "{first}");
    assert!(!dir.path().join("issued.toml").exists(), "a failure records nothing");
    said(&dir, "issue --peer p --name *.a.example --name [::1]").unwrap();
    said(&dir, "issue --peer q --name q.example").unwrap();
    let before = serial(&dir, "p.pem");
    assert!(refused(&dir, "issue --peer p").contains("--force"));

    let said_then = said(&dir, "issue --peer p --force").unwrap();
    assert!(said_then.contains(&format!("--serial {}", hex(&before))), "{said_then}");
    assert_ne!(serial(&dir, "p.pem"), before);
    let names = |dir: &TempDir| listed(dir).last().unwrap()[2].clone();
    assert_eq!(names(&dir), "*.a.example,[::1]");
    said(&dir, "issue --peer p --name b.example --force").unwrap();
    said(&dir, "issue --peer p --force").unwrap();
    assert_eq!(names(&dir), "b.example", "those of the newest");

    edit_index(&dir, "q.example", "*.local");
    let refused = refused(&dir, "issue --peer q --force");
    assert!(refused.contains("*.local") && refused.contains("--name"), "{refused}");
}

#[test]
fn revoking_a_peer_covers_the_certificates_before_its_renewals() {
    let dir = with_ca();
    said(&dir, "issue --peer other --name o.example").unwrap();
    let mut serials = Vec::new();
    for _ in 0..2 {
        said(&dir, "issue --peer p --name p.example --force").unwrap();
        serials.push(serial(&dir, "p.pem"));
    }
    // No verifier accepts one that has expired.
    edit_index(
        &dir,
        "[[certificate]]",
        "[[certificate]]\n\
         serial = \"07\"\n\
         peer = \"p\"\n\
         names = [\"p.example\"]\n\
         not_before = 2020-01-01T00:00:00Z\n\
         not_after = 2020-04-01T00:00:00Z\n\
         \n\
         [[certificate]]",
    );
    said(&dir, "revoke --peer p").unwrap();
    assert_eq!(revoked(&dir).0, serials);
    let states: Vec<_> = listed(&dir).iter().map(|cells| cells[5].clone()).collect();
    assert_eq!(states, ["expired", "valid", "revoked", "revoked"]);
}

#[test]
fn a_certificate_is_revoked_by_its_serial_in_any_spelling() {
    let dir = with_ca();
    let mut serials = Vec::new();
    for _ in 0..4 {
        said(&dir, "issue --peer p --name p.example --force").unwrap();
        serials.push(serial(&dir, "p.pem"));
    }
    let plain = hex(&serials[0]);
    let upper = hex(&serials[1]).to_uppercase();
    let colons: Vec<_> = serials[2].iter().map(|byte| format!("{byte:02X}")).collect();
    for spelling in [&plain, &upper, &colons.join(":")] {
        said(&dir, &format!("revoke --serial {spelling}")).unwrap();
    }
    assert_eq!(revoked(&dir).0, serials[..3], "the newest is not touched");
    let unknown = refused(&dir, "revoke --serial 0a:0B");
    assert!(unknown.contains("0a0b") && unknown.contains("pki list"), "{unknown}");
    assert_eq!(revoked(&dir).1, [3], "a failure signs no list");
    parsed(&dir, &format!("revoke --serial {plain} --peer p")).unwrap_err();
}

#[test]
fn a_serial_is_one_number_however_it_is_written() {
    let serial = |text: &str| text.parse::<Serial>();
    for text in ["1f0", "01F0", "01:f0", "00:00:01:F0"] {
        assert_eq!(serial(text).map(|serial| serial.to_string()).as_deref(), Ok("01f0"), "{text}");
    }
    assert_eq!(serial("0"), serial("00:00"));
    assert_eq!(serial("0").unwrap().to_string(), "00");
    for text in ["", ":", "0x1", "g", "-1", "é", &"1".repeat(41)] {
        assert!(serial(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_directory_without_a_record_is_read_from_its_certificates() {
    let dir = with_ca();
    for peer in ["p", "q"] {
        said(&dir, &format!("issue --peer {peer} --name {peer}.example")).unwrap();
    }
    let index = dir.path().join("issued.toml");
    fs::remove_file(&index).unwrap();
    fs::write(dir.path().join("notes.pem"), "no certificate").unwrap();
    fs::create_dir(dir.path().join("folder.pem")).unwrap();
    let (p, q) = (serial(&dir, "p.pem"), serial(&dir, "q.pem"));
    let serials: Vec<_> = listed(&dir).iter().map(|cells| cells[0].clone()).collect();
    assert_eq!(serials, [hex(&p), hex(&q)]);
    assert!(!index.exists(), "a look changes nothing");
    said(&dir, "revoke --peer q").unwrap();
    assert_eq!(revoked(&dir).0, std::slice::from_ref(&q));

    // The renewal overwrites what was never recorded, and so records it.
    said(&dir, "issue --peer p --force").unwrap();
    let renewed = serial(&dir, "p.pem");
    said(&dir, "revoke --peer p").unwrap();
    assert_eq!(revoked(&dir).0, [q, p, renewed]);
}

#[test]
fn a_record_that_cannot_be_read_is_named_with_its_line_and_kept() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name p.example").unwrap();
    edit_index(&dir, "peer = \"p\"", "peer = \"p q\"");
    let before = files(&dir);
    for line in ["list", "revoke --peer p", "issue --peer q --name q.example"] {
        let error = refused(&dir, line);
        assert!(error.contains("issued.toml: line 3: not a peer id"), "{error}");
    }
    assert_eq!(files(&dir), before);
}

#[test]
fn the_list_is_a_table() {
    let dir = with_ca();
    let empty = said(&dir, "list").unwrap();
    assert!(empty.contains("pki issue"), "{empty}");
    fs::write(
        dir.path().join("issued.toml"),
        "[[certificate]]\n\
         serial = \"0a1b\"\n\
         peer = \"site-1\"\n\
         names = [\"app.example\", \"[::1]\"]\n\
         not_before = 2020-01-02T23:59:59Z\n\
         not_after = 2020-04-01T00:00:00Z\n\
         \n\
         [[certificate]]\n\
         serial = \"07\"\n\
         peer = \"hub\"\n\
         names = [\"hub.example\"]\n\
         not_before = 2020-05-06T00:00:00Z\n\
         not_after = 9999-12-31T23:59:59Z\n",
    )
    .unwrap();
    assert_eq!(
        said(&dir, "list").unwrap(),
        "SERIAL  PEER    NAMES              ISSUED      UNTIL       STATE\n\
         0a1b    site-1  app.example,[::1]  2020-01-02  2020-04-01  expired\n\
         07      hub     hub.example        2020-05-06  9999-12-31  valid\n"
    );
    let expired = refused(&dir, "revoke --peer site-1");
    assert!(expired.contains("has expired"), "{expired}");
    said(&dir, "revoke --serial 07").unwrap();
    assert!(said(&dir, "list").unwrap().ends_with("9999-12-31  revoked\n"));
}

#[test]
fn a_ca_is_replaced_only_by_who_names_it() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name p.example").unwrap();
    said(&dir, "revoke").unwrap();
    let before = files(&dir);
    let line = "init --trust-domain new.example --force";
    let missing = refused(&dir, line);
    let wrong = refused(&dir, &format!("{line} --replace-ca new.example"));
    let mistyped = parsed(&dir, line).unwrap().run(|_| Ok(Some("yes".to_owned())));
    let mistyped = mistyped.unwrap_err().to_string();
    for error in [&missing, &wrong, &mistyped] {
        for part in ["worthless (unexpired: 1)", "--replace-ca mesh.example"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
    assert!(wrong.contains("\"new.example\" is not"), "{wrong}");
    parsed(&dir, "init --replace-ca mesh.example").unwrap_err();
    assert_eq!(files(&dir), before);

    let said_then = parsed(&dir, line).unwrap().run(|question| {
        assert!(question.contains("mesh.example") && question.contains("worthless"), "{question}");
        Ok(Some("mesh.example".to_owned()))
    });
    assert!(said_then.unwrap().contains("*.old"));
    let after = files(&dir);
    for file in ["ca.pem", "ca-key.pem", "crl.pem", "issued.toml"] {
        assert_eq!(after[&format!("{file}.old")], before[file], "{file}");
        assert_ne!(after.get(file), Some(&before[file]), "{file}");
    }
}

#[test]
fn a_new_ca_begins_with_nothing_issued_and_nothing_revoked() {
    let dir = with_ca();
    said(&dir, "issue --peer p --name p.example").unwrap();
    said(&dir, "revoke --peer p").unwrap();
    // Of the same name: only the key tells the two CAs apart.
    let line = "init --trust-domain mesh.example --force --replace-ca mesh.example";
    said(&dir, line).unwrap();
    assert_eq!(listed(&dir), Vec::<Vec<String>>::new());
    assert_eq!(revoked(&dir), (vec![], vec![1]));
    refused(&dir, "revoke --peer p");
    let first = refused(&dir, "issue --peer p --force");
    assert!(first.contains("--name"), "{first}");
    said(&dir, "issue --peer p --name p.example --force").unwrap();
    said(&dir, "revoke --peer p").unwrap();
    assert_eq!(revoked(&dir), (vec![serial(&dir, "p.pem")], vec![2]));

    // All *.old are of one CA: what the next one lacked does not stay either.
    fs::remove_file(dir.path().join("crl.pem")).unwrap();
    said(&dir, line).unwrap();
    let names: Vec<_> = files(&dir).into_keys().collect();
    assert_eq!(
        names,
        [
            "ca-key.pem",
            "ca-key.pem.old",
            "ca.pem",
            "ca.pem.old",
            "issued.toml.old",
            "p-key.pem",
            "p.pem"
        ]
    );
}

#[test]
fn a_ca_that_cannot_be_named_is_not_replaced() {
    let dir = with_ca();
    for file in ["ca.pem", "ca-key.pem"] {
        fs::rename(dir.path().join(file), dir.path().join("elsewhere")).unwrap();
        if file == "ca-key.pem" {
            fs::write(dir.path().join("ca.pem"), "nonsense").unwrap();
        }
        let before = files(&dir);
        let error = refused(&dir, "init --force --replace-ca mesh.example");
        assert!(error.contains("ca.pem") && error.contains("move"), "{error}");
        assert_eq!(files(&dir), before);
        fs::rename(dir.path().join("elsewhere"), dir.path().join(file)).unwrap();
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
        let useless = Name::registered(pattern).unwrap().is_single_label_wildcard();
        assert_eq!(accepts(pattern, name), !useless, "{pattern}");
        assert_eq!(pattern.parse::<Subject>().is_err(), useless, "{pattern}");
    }
    let dir = with_ca();
    let error = parsed(&dir, "issue --peer p --name *.local").unwrap_err().to_string();
    assert!(error.contains("single label") && error.contains("*.mesh.local"), "{error}");
}

/// Compiles only while the type has no `Debug`: with it, two implementations fit.
macro_rules! assert_not_debug {
    ($type:ty) => {{
        trait Ambiguous<A> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Debug> Ambiguous<u8> for T {}
        <$type as Ambiguous<_>>::check();
    }};
}

#[test]
fn what_holds_a_key_cannot_be_printed() {
    assert_not_debug!(Issued);
    assert_not_debug!(Authority);
}
