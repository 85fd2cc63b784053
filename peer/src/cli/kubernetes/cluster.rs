//! Where the Kubernetes API is, and how this peer shows there who it is: as the pod that it runs
//! in, or as a kubeconfig says. Sources: "Accessing the Kubernetes API from a Pod", and the API
//! reference of `client.config/v1`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio_rustls::rustls;

use crate::config::{ConfigError, Endpoint};
use crate::limits::KUBERNETES_FILE_BYTES;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;
use crate::trust::tls::{check_writers, is_exposed};

/// Where every pod with a token has it, and the CA of the API.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How to write a kubeconfig that is understood here.
const AS_JSON: &str = "kubectl config view --raw --flatten --minify -o json";

/// Where the API is, and how it is asked. Shows nothing of the credential.
pub(super) struct Cluster {
    /// Where it listens.
    pub(super) endpoint: Endpoint,
    /// What all paths begin with; often nothing.
    pub(super) prefix: String,
    /// How it is verified; clear text without, which only stays on this machine.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    credential: Credential,
}

/// Shown with each request.
enum Credential {
    /// Nothing, or a certificate within TLS.
    None,
    Given(String),
    /// Read anew for each request, for it is replaced every hour.
    File(PathBuf),
}

fn fault(problem: impl std::fmt::Display) -> ConfigError {
    ConfigError::new("kubernetes", problem)
}

impl Cluster {
    /// The one of `KUBECONFIG`, or else the one that this pod runs in.
    ///
    /// # Errors
    /// What is missing or cannot be used, and what to do about it.
    pub(super) fn infer(var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        match var("KUBECONFIG") {
            Some(path) => Self::from_kubeconfig(Path::new(&path)),
            None => Self::of_this_pod(var, Path::new(MOUNT)),
        }
    }

    fn of_this_pod(
        var: impl Fn(&str) -> Option<String>,
        mount: &Path,
    ) -> Result<Self, ConfigError> {
        let Some(host) = var("KUBERNETES_SERVICE_HOST") else {
            let problem = format!(
                "this peer runs in no pod of Kubernetes, and KUBECONFIG is not set: set it to a \
                 file that was written by: {AS_JSON}"
            );
            return Err(fault(problem));
        };
        let port = var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
        let port = port.parse().map_err(|_| fault("KUBERNETES_SERVICE_PORT is no port"))?;
        let (ca, token) = (mount.join("ca.crt"), mount.join("token"));
        let missing = |error: ConfigError| {
            let problem = format!(
                "{}; give the pod a ServiceAccount, with automountServiceAccountToken: true",
                error.problem
            );
            fault(problem)
        };
        let ca = read(&ca).map_err(missing)?;
        read(&token).map_err(missing)?;
        Ok(Self {
            tls: Some((tls(&ca, None)?, server_name(&host)?)),
            endpoint: Endpoint { host, port },
            prefix: String::new(),
            credential: Credential::File(token),
        })
    }

    fn from_kubeconfig(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |problem: &dyn std::fmt::Display| {
            fault(format!("KUBECONFIG {}: {problem}", path.display()))
        };
        check_writers(&TokioNet, "kubernetes", path)?;
        if is_exposed(&TokioNet, path) {
            let path = path.display();
            tracing::warn!("anyone on this machine can read {path}; run: chmod 600 {path}");
        }
        let text = read(path)?;
        let config: Kubeconfig = serde_json::from_slice(&text)
            .map_err(|error| wrong(&format!("{error}; write it in JSON, by: {AS_JSON}")))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        config.cluster(directory).map_err(|error| wrong(&error.problem))
    }

    /// The value of the field `Authorization`, if there is to be one.
    ///
    /// # Errors
    /// The file of the token cannot be read.
    pub(super) fn authorization(&self) -> io::Result<Option<String>> {
        let token = match &self.credential {
            Credential::None => return Ok(None),
            Credential::Given(token) => token.clone(),
            Credential::File(path) => String::from_utf8_lossy(&bounded(path)?).trim().to_owned(),
        };
        Ok(Some(format!("Bearer {token}")))
    }
}

/// What of a kubeconfig is understood.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kubeconfig {
    #[serde(rename = "current-context")]
    current: String,
    contexts: Vec<Named<Context>>,
    clusters: Vec<Named<ClusterEntry>>,
    users: Vec<Named<User>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<String>,
}

impl Kubeconfig {
    fn cluster(self, directory: &Path) -> Result<Cluster, ConfigError> {
        let context = entry("context", self.contexts, &self.current)?;
        let cluster = entry("cluster", self.clusters, &context.cluster)?;
        let user = match context.user.is_empty() {
            true => User::default(),
            false => entry("user", self.users, &context.user)?,
        };
        if user.exec.is_some() || user.auth_provider.is_some() || user.username.is_some() {
            return Err(fault(
                "its user gets credentials from a program, or has a password: use a token, a \
                 tokenFile or a client certificate, such as those of a ServiceAccount",
            ));
        }
        if cluster.proxy_url.is_some() {
            return Err(fault("proxy-url is not supported: the API is asked directly"));
        }
        let data = |data: Option<String>, path: Option<PathBuf>| match (data, path) {
            (Some(data), _) => {
                let decoded = STANDARD.decode(data.trim());
                decoded.map(Some).map_err(|error| fault(format!("bad base64: {error}")))
            }
            (None, Some(path)) => read(&directory.join(path)).map(Some),
            (None, None) => Ok(None),
        };
        let ca = data(cluster.certificate_authority_data, cluster.certificate_authority)?;
        let certificate = data(user.client_certificate_data, user.client_certificate)?;
        let key = data(user.client_key_data, user.client_key)?;
        let (endpoint, prefix, is_secure) = server(&cluster.server)?;
        let tls = match (is_secure, ca) {
            _ if cluster.insecure_skip_tls_verify => {
                let problem = "insecure-skip-tls-verify is not supported, for whoever answers \
                               would get the credential: set certificate-authority-data";
                return Err(fault(problem));
            }
            (false, _) if endpoint.is_loopback() => None,
            (false, _) => return Err(fault("server is http:// on another machine: use https://")),
            (true, None) => return Err(fault("certificate-authority-data is missing: set it")),
            (true, Some(ca)) => {
                let name = cluster.tls_server_name.as_deref().unwrap_or(&endpoint.host);
                Some((tls(&ca, certificate.zip(key))?, server_name(name)?))
            }
        };
        let credential = match (user.token_file, user.token) {
            (Some(path), _) => Credential::File(directory.join(path)),
            (None, Some(token)) => Credential::Given(token),
            (None, None) => Credential::None,
        };
        Ok(Cluster { endpoint, prefix, tls, credential })
    }
}

fn entry<T>(what: &str, all: Vec<Named<T>>, name: &str) -> Result<T, ConfigError> {
    let found = all.into_iter().find(|one| one.name == name);
    found.map(|one| one.value).ok_or_else(|| fault(format!("it has no {what} named {name:?}")))
}

/// What `https://HOST[:PORT][/PREFIX]` says.
fn server(url: &str) -> Result<(Endpoint, String, bool), ConfigError> {
    let wrong = || fault(format!("server {url:?} is not https://HOST:PORT"));
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (is_secure, usual) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Err(wrong()),
    };
    let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let endpoint = authority.parse().or_else(|_| format!("{authority}:{usual}").parse());
    Ok((endpoint.map_err(|_| wrong())?, prefix.trim_end_matches('/').to_owned(), is_secure))
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConfigError> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|_| fault(format!("{host:?} is neither a DNS name nor an IP address")))
}

/// Trusts this CA, and shows this certificate with its key.
fn tls(ca: &[u8], shown: Option<(Vec<u8>, Vec<u8>)>) -> Result<Arc<ClientConfig>, ConfigError> {
    let certificates = |pem: &[u8]| {
        let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        all.map_err(|error| fault(format!("a certificate cannot be read: {error}")))
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca)?);
    if roots.is_empty() {
        return Err(fault("the CA of the Kubernetes API has no certificate that can be read"));
    }
    let config = ClientConfig::builder_with_provider(TokioNet.crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(fault)?
        .with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|error| fault(format!("client-key cannot be read: {error}")))?;
            config
                .with_client_auth_cert(certificates(&chain)?, key)
                .map_err(|error| fault(format!("client-key does not fit: {error}")))?
        }
    };
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    bounded(path).map_err(|error| fault(format!("{}: {error}", path.display())))
}

/// A file that is no longer than such files are.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > KUBERNETES_FILE_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(KUBERNETES_FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn kubeconfig(server: &str, cluster: &str, user: &str) -> Result<Cluster, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let text = format!(
            r#"{{"kind":"Config","apiVersion":"v1","preferences":{{}},"current-context":"c",
            "contexts":[{{"name":"c","context":{{"cluster":"k","user":"u","namespace":"n"}}}}],
            "clusters":[{{"name":"k","cluster":{{"server":"{server}"{cluster}}}}}],
            "users":[{{"name":"other","user":{{}}}},{{"name":"u","user":{{{user}}}}}]}}"#
        );
        fs::write(&path, text).unwrap();
        Cluster::infer(|name| (name == "KUBECONFIG").then(|| path.display().to_string()))
    }

    fn problem(of: Result<Cluster, ConfigError>) -> String {
        let Err(ConfigError { key, problem }) = of else { panic!("that can be used") };
        assert_eq!(key, "kubernetes");
        problem
    }

    #[test]
    fn a_kubeconfig_says_where_the_api_is_and_who_asks() {
        let cluster = kubeconfig("http://127.0.0.1:8001/k8s/c-1/", "", r#""token":"t0""#).unwrap();
        assert_eq!(cluster.endpoint.to_string(), "127.0.0.1:8001");
        assert_eq!(cluster.prefix, "/k8s/c-1");
        assert_eq!(cluster.authorization().unwrap().as_deref(), Some("Bearer t0"));
        let nobody = kubeconfig("http://localhost", "", "").unwrap();
        assert_eq!(nobody.endpoint.port, 80);
        assert_eq!(nobody.authorization().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_used_says_what_to_do() {
        for (server, cluster, user, said) in [
            ("https://api:6443", "", "", "certificate-authority-data is missing"),
            ("http://api:6443", "", "", "use https://"),
            ("api:6443", "", "", "is not https://"),
            ("https://api", r#","insecure-skip-tls-verify":true"#, "", "not supported"),
            ("https://api", r#","certificate-authority-data":"e30=""#, "", "no certificate"),
            ("https://api", r#","certificate-authority-data":"?""#, "", "base64"),
            ("https://api", "", r#""exec":{"command":"aws"}"#, "use a token"),
        ] {
            let problem = problem(kubeconfig(server, cluster, user));
            assert!(problem.contains(said), "{problem}");
        }
        let yaml = tempfile::tempdir().unwrap();
        let path = yaml.path().join("config");
        fs::write(&path, "apiVersion: v1\nkind: Config\n").unwrap();
        let read = Cluster::infer(|_| Some(path.display().to_string()));
        assert!(problem(read).contains("-o json"));
        assert!(problem(Cluster::infer(|_| None)).contains("set it to a file"));
    }

    fn pod(files: &[&str]) -> (TempDir, Result<Cluster, ConfigError>) {
        let mount = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap();
        for file in files {
            let text = if *file == "token" { "t1\n".to_owned() } else { issued.cert.pem() };
            fs::write(mount.path().join(file), text).unwrap();
        }
        let var = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            _ => None,
        };
        let cluster = Cluster::of_this_pod(var, mount.path());
        (mount, cluster)
    }

    #[test]
    fn a_pod_finds_the_api_by_itself_and_reads_its_token_anew() {
        let (mount, cluster) = pod(&["token", "ca.crt"]);
        let cluster = cluster.unwrap();
        assert_eq!(cluster.endpoint.to_string(), "[fd00::1]:6443");
        assert!(cluster.tls.is_some());
        assert_eq!(cluster.authorization().unwrap().as_deref(), Some("Bearer t1"));
        fs::write(mount.path().join("token"), "t2").unwrap();
        assert_eq!(cluster.authorization().unwrap().as_deref(), Some("Bearer t2"));
        let (_mount, without) = pod(&["ca.crt"]);
        assert!(problem(without).contains("automountServiceAccountToken: true"));
    }
}
