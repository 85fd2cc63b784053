//! A CA of the test's own, with certificates of every kind, also bad ones; and
//! the TLS of a connecting peer by hand.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::hello;

/// A CA, and the directory that all its files are in.
pub struct Ca {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What is trusted: this CA, or the one that signed it.
    root: CertificateDer<'static>,
    /// What follows each certificate in its file.
    intermediates: String,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What marks the names that a peer may reach: what others have written must go on to be read.
const REACH: &[u64] = &[2, 25, 5_284_616_905_293_417_871];

/// A certificate to be made.
#[derive(Debug)]
pub struct Request(CertificateParams);

impl Request {
    /// The identity of a peer, valid for these names or addresses.
    pub fn peer(id: &str, names: &[&str]) -> Self {
        let mut request = Self::nobody(names);
        let uri = format!("spiffe://test/peer/{id}").try_into().expect("ASCII");
        request.0.subject_alt_names.push(SanType::URI(uri));
        request
    }

    /// Valid for these names or addresses, without an identity.
    pub fn nobody(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names for a certificate");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self(params)
    }

    /// Which may reach these names through listening peers.
    pub fn may_reach(mut self, pattern: &str) -> Self {
        self.0.subject_alt_names.push(SanType::OtherName((REACH.to_vec(), pattern.into())));
        self
    }

    /// For servers only.
    pub fn server_only(mut self) -> Self {
        self.0.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Valid until this year.
    pub fn until(mut self, year: i32) -> Self {
        self.0.not_before = date_time_ymd(2000, 1, 1);
        self.0.not_after = date_time_ymd(year, 1, 1);
        self
    }

    /// With this serial number.
    pub fn serial(mut self, number: u8) -> Self {
        self.0.serial_number = Some(SerialNumber::from_slice(&[number]));
        self
    }
}

fn authority(name: &str, intermediates: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(intermediates));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    /// A CA that nobody trusts yet.
    pub fn new(name: &str) -> Self {
        let params = authority(name, 1);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self::with(issuer.der().clone(), issuer, String::new())
    }

    /// A CA that this one signed. Its files have its certificate behind each other one, and
    /// what they trust is this one.
    pub fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (authority(name, 0), KeyPair::generate().unwrap());
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap();
        let intermediates = issuer.pem();
        let ca = Self::with(self.root.clone(), issuer, intermediates);
        fs::copy(self.path("ca.pem"), ca.path("ca.pem")).unwrap();
        ca
    }

    fn with(
        root: CertificateDer<'static>,
        issuer: CertifiedIssuer<'static, KeyPair>,
        intermediates: String,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer, root, intermediates }
    }

    /// A file in its directory.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Writes a file of its directory, whole at once.
    pub fn write(&self, file: &str, contents: &str) -> PathBuf {
        let (path, new) = (self.path(file), self.path(&format!("{file}.new")));
        fs::write(&new, contents).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// Makes the certificate `stem`.pem and its key; both are replaced at once
    /// where they exist.
    pub fn issue(&self, stem: &str, request: Request) -> Files {
        let key = KeyPair::generate().unwrap();
        let certificate = request.0.signed_by(&key, &self.issuer).unwrap();
        Files {
            cert: self.write(&format!("{stem}.pem"), &(certificate.pem() + &self.intermediates)),
            key: self.write(&format!("{stem}-key.pem"), &key.serialize_pem()),
        }
    }

    /// Makes the list crl.pem, which revokes this serial number.
    pub fn revoke(&self, serial: u8) -> PathBuf {
        self.write("crl.pem", &self.revocations(serial, 2090))
    }

    /// A list that revokes this serial number, and expires in this year; PEM.
    pub fn revocations(&self, serial: u8, until: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[serial]),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// The flags of a peer with this certificate that trusts this CA.
    pub fn flags(&self, files: &Files) -> String {
        let Files { cert, key } = files;
        let (cert, key, ca) = (cert.display(), key.display(), self.path("ca.pem"));
        format!("--tls-cert {cert} --tls-key {key} --tls-ca {} ", ca.display())
    }

    /// The TLS of a connecting peer that trusts this CA.
    pub fn client(&self, files: Option<&Files>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match files {
            None => builder.with_no_client_auth(),
            Some(Files { cert, key }) => {
                let chain = CertificateDer::pem_file_iter(cert).unwrap();
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"ops-proxy/1".to_vec()];
        Arc::new(config)
    }

    /// A session with the listening peer at `to`, up to and with the handshake.
    pub async fn session(&self, to: SocketAddr, files: Option<&Files>) -> TlsStream<TcpStream> {
        let host = to.ip().to_string();
        let handshake = hello::handshake(to, &host, self.client(files));
        handshake.await.expect("the listening peer's certificate is good")
    }
}
