use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::super::files::{Tls, check_files};
use super::*;
use crate::config::PeerConfig;
use crate::observe::metrics::{Metrics, Snapshot};
use crate::stream::net::tokio::TokioNet;
use crate::trust::proof::Proven;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A certificate that ends in this year, and its key, PEM.
fn certificate(until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A listening peer and its files.
struct Files {
    dir: TempDir,
    config: PeerConfig,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(2090);
        let files = Self { config: PeerConfig::new("hub".parse().unwrap()), dir };
        let tls = TlsConfig {
            cert: Some(files.write("tls_cert", &cert)),
            key: Some(files.write("tls_key", &key)),
            ca: Some(files.write("tls_ca", &certificate(2080).0)),
            crl: None,
            token: Some(TokenSource::File(files.write("token_file", SECRET))),
            accept_tokens: Some(
                files.write("accept_tokens", &format!("[[token]]\nsecret = '{SECRET}'")),
            ),
        };
        Self { config: PeerConfig { tls, ..files.config }, dir: files.dir }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, contents: &str) -> PathBuf {
        fs::write(self.path(file), contents).unwrap();
        self.path(file)
    }

    fn fault(&self) -> ConfigError {
        check_files(&TokioNet, &self.config).unwrap_err()
    }
}

#[test]
fn a_file_of_no_use_is_named_by_its_key_and_never_quoted() {
    let key = certificate(2090).1;
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (file, contents, part) in [
        ("tls_cert", "", "contains no certificate"),
        ("tls_cert", "no PEM at all", "contains no certificate"),
        ("tls_cert", garbage, "contains no certificate"),
        ("tls_key", "", "contains no private key"),
        ("tls_key", &key, "does not match tls_cert"),
        ("tls_key", broken, "does not match tls_cert"),
        ("tls_ca", "", "contains no certificate"),
        ("tls_ca", garbage, "contains no certificate"),
        ("token_file", &SECRET[1..], "at least 32 bytes"),
        ("token_file", "", "at least 32 bytes"),
        ("accept_tokens", SECRET, "line 1"),
    ] {
        let files = Files::new();
        check_files(&TokioNet, &files.config).unwrap();
        files.write(file, contents);
        let error = files.fault();
        assert_eq!(error.key, file, "{error}");
        assert!(error.problem.contains(part), "{error}");
        assert!(!error.problem.contains(&SECRET[1..]), "{error}");
    }
    let mut files = Files::new();
    files.config.tls.crl = Some(files.write("tls_crl", garbage));
    assert_eq!(files.fault().key, "tls_crl");
}

#[test]
fn a_file_that_is_missing_or_too_large_is_named_with_its_path() {
    let files = Files::new();
    let path = files.path("tls_ca");
    fs::remove_file(&path).unwrap();
    let error = files.fault();
    assert_eq!(error.key, "tls_ca");
    assert!(error.problem.contains(path.to_str().unwrap()), "{error}");
    let large = usize::try_from(crate::limits::TLS_FILE_BYTES).unwrap() + 1;
    files.write("tls_ca", &"x".repeat(large));
    assert_eq!(files.fault().key, "tls_ca");
}

#[test]
fn a_connecting_peer_is_whom_its_certificate_names() {
    let mut files = Files::new();
    files.config.connect = vec!["hub.example:1".parse().unwrap()];
    check_files(&TokioNet, &files.config).unwrap();
    files.config.tls.token = None;
    assert_eq!(files.fault().key, "tls_cert", "the certificate has no SPIFFE URI");
}

/// One value of the metrics.
fn value(metrics: &Metrics, family: &str) -> i64 {
    let text = metrics.render(&Snapshot::default());
    let line = text.lines().find(|line| line.starts_with(family) && !line.starts_with('#'));
    line.unwrap_or_else(|| panic!("no {family} in {text}"))
        .rsplit_once(' ')
        .unwrap()
        .1
        .parse()
        .unwrap()
}

#[test]
fn a_bad_change_is_counted_once_and_the_old_stays() {
    const FAILED: &str = "ops_proxy_tls_reload_failed_total";
    const LOADED: &str = "ops_proxy_tls_reloads_total";
    const EXPIRY: &str = "ops_proxy_tls_certificate_expiry_timestamp_seconds{certificate=\"peer\"";
    let files = Files::new();
    let metrics = Metrics::new(&files.config);
    let tls = Tls::open(&TokioNet, &files.config, &metrics).unwrap();
    let counts = || (value(&metrics, LOADED), value(&metrics, FAILED));
    let old = tls.current();
    let is_old = || Arc::ptr_eq(&old, &tls.current());
    let expiry = value(&metrics, EXPIRY);
    tls.reload(&TokioNet, &metrics);
    assert_eq!((counts(), is_old()), ((0, 0), true), "nothing has changed");

    let (cert, key) = certificate(2085);
    files.write("tls_cert", &cert);
    tls.reload(&TokioNet, &metrics);
    tls.reload(&TokioNet, &metrics);
    assert_eq!((counts(), is_old()), ((0, 1), true), "half a rotation");
    assert_eq!(value(&metrics, EXPIRY), expiry);

    files.write("tls_key", &key);
    tls.reload(&TokioNet, &metrics);
    assert_eq!((counts(), is_old()), ((1, 1), false));
    assert!(value(&metrics, EXPIRY) < expiry);

    let new = tls.current();
    fs::remove_file(files.path("tls_cert")).unwrap();
    tls.reload(&TokioNet, &metrics);
    tls.reload(&TokioNet, &metrics);
    assert_eq!(counts(), (1, 2), "a missing file is one change, too");
    assert!(Arc::ptr_eq(&new, &tls.current()));
}

/// What a secret looks like in text, and where its bytes are shown as numbers.
fn disguises(secret: &[u8]) -> [String; 3] {
    let part = &secret[secret.len() - 12..];
    let hex = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{part:?}").trim_matches(['[', ']']).to_owned();
    [String::from_utf8_lossy(part).into_owned(), hex, decimal]
}

#[test]
fn neither_debug_output_nor_a_panic_with_it_holds_a_key_or_a_token() {
    let files = Files::new();
    let tls = Tls::open(&TokioNet, &files.config, &Metrics::new(&files.config)).unwrap();
    // A bad change is kept as well, to be counted once.
    files.write("tls_crl", "none");
    let given = TokenSource::Given(Token::new(SECRET.as_bytes()).unwrap());
    let proven = Proven::Tls { certificate: None, exporter: *b"exporter exporter exporter 12345" };
    let shown = format!(
        "{:?} {tls:?} {tls:#?} {:?} {:#?} {:?} {given:?} {proven:?}",
        files.config,
        tls.current(),
        tls.current(),
        tls.current().server,
    );
    let panic = std::panic::catch_unwind(|| panic!("{tls:?} {proven:?}")).unwrap_err();
    let shown = shown + panic.downcast_ref::<String>().unwrap();
    let pem = fs::read_to_string(files.path("tls_key")).unwrap();
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    // Of a P-256 key in PKCS #8, the secret number; the public key follows it.
    let number = &der.secret_der()[36..68];
    let line = pem.lines().nth(1).unwrap();
    let exporter = b"exporter exporter exporter 12345";
    let secrets = [SECRET.as_bytes(), line.as_bytes(), number, exporter];
    for secret in secrets.into_iter().flat_map(disguises) {
        assert!(!shown.contains(&secret), "{secret} is in {shown}");
    }
    assert!(shown.contains("tls_key"), "the paths of the files may be shown");
}
