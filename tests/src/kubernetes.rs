//! A Kubernetes API of the test's own: it lists and watches Services over real HTTP, with
//! versions, pages and bookmarks, and fails in the ways in which real ones do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::{Ca, Files};

/// Bytes of an event that go out at once: lines are to be put together again.
const CHUNK: usize = 100;

/// How it says that a version is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// By the status of the answer, 410.
    Status,
    /// By an event within an answer.
    Event,
}

/// How watches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As when their time is over.
    Cleanly,
    /// In the middle of an event, with their connection.
    Midway,
}

/// How often it was asked, and what is true of each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// For the first page of a list.
    pub lists: usize,
    /// For a further page.
    pub pages: usize,
    /// For a watch.
    pub watches: usize,
    /// For a watch from a version that was too old.
    pub gone: usize,
    /// While it was told to fail.
    pub failed: usize,
}

/// A running API, until dropped.
#[derive(Debug)]
pub struct Api {
    addr: SocketAddr,
    shared: Arc<Shared>,
    directory: TempDir,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Says that there is something new, or that watches end.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    version: u64,
    /// By namespace and name.
    services: BTreeMap<(String, String), Value>,
    /// Each with its version and namespace.
    events: Vec<(u64, String, Value)>,
    /// What is older is forgotten.
    oldest: u64,
    gone: Gone,
    cut: Option<(u64, Cut)>,
    cuts: u64,
    /// Answers everything.
    failure: Option<u16>,
    /// What each request must show.
    token: Option<String>,
    asked: Asked,
}

impl Api {
    /// In clear text, and asked by anybody.
    pub async fn start() -> Self {
        Self::with("http", None, None).await
    }

    /// Over TLS, with this certificate of that CA, and asked by whoever knows the token.
    pub async fn start_secured(ca: &Ca, files: &Files, token: &str) -> Self {
        let chain = CertificateDer::pem_file_iter(&files.cert).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let ca = std::fs::read(ca.path("ca.pem")).unwrap();
        Self::with("https", Some((acceptor, ca)), Some(token.to_owned())).await
    }

    async fn with(
        scheme: &str,
        tls: Option<(TlsAcceptor, Vec<u8>)>,
        token: Option<String>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (acceptor, ca) = tls.unzip();
        let mut cluster = json!({ "server": format!("{scheme}://{addr}") });
        if let Some(ca) = ca {
            cluster["certificate-authority-data"] = STANDARD.encode(ca).into();
        }
        std::fs::write(directory.path().join("token"), token.as_deref().unwrap_or("none")).unwrap();
        let config = json!({
            "kind": "Config", "apiVersion": "v1", "current-context": "here",
            "contexts": [{ "name": "here", "context": { "cluster": "fake", "user": "peer" } }],
            "clusters": [{ "name": "fake", "cluster": cluster }],
            "users": [{ "name": "peer", "user": { "tokenFile": "token" } }],
        });
        let path = directory.path().join("config");
        std::fs::write(&path, config.to_string()).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let state = State {
            version: 1,
            services: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            gone: Gone::Status,
            cut: None,
            cuts: 0,
            failure: None,
            token,
            asked: Asked::default(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changes: watch::Sender::new(0) });
        let task = tokio::spawn(serve(listener, acceptor, shared.clone()));
        Self { addr, shared, directory, task }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The kubeconfig that leads to it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// Has clients show another token.
    pub fn show_token(&self, token: &str) {
        std::fs::write(self.directory.path().join("token"), token).unwrap();
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> Asked {
        self.shared.lock().asked
    }

    /// There is this Service from now on, instead of one of its name.
    pub fn put(&self, service: Service) {
        self.shared.change(|state| state.put(service));
    }

    /// There are these from now on.
    pub fn put_all(&self, services: impl IntoIterator<Item = Service>) {
        self.shared.change(|state| services.into_iter().for_each(|service| state.put(service)));
    }

    /// A Service is gone.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.shared.change(|state| state.delete(namespace, name));
    }

    /// Services are gone.
    pub fn delete_all<'a>(&self, namespace: &str, names: impl IntoIterator<Item = &'a str>) {
        let names = names.into_iter();
        self.shared.change(|state| names.for_each(|name| state.delete(namespace, name)));
    }

    /// Ends all watches. Nobody hears of `meanwhile` by them.
    pub fn cut(&self, cut: Cut, meanwhile: impl FnOnce(&mut Meanwhile<'_>)) {
        self.shared.change(|state| {
            state.cuts += 1;
            state.cut = Some((state.cuts, cut));
            meanwhile(&mut Meanwhile(state));
        });
    }

    /// Answers everything with this status from now on, or as it should.
    pub fn fail(&self, failure: Option<u16>) {
        self.shared.change(|state| {
            state.failure = failure;
            state.cuts += 1;
            state.cut = failure.map(|_| (state.cuts, Cut::Midway)).or(state.cut);
        });
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happens while nobody watches.
pub struct Meanwhile<'a>(&'a mut State);

impl Meanwhile<'_> {
    /// There is this Service from now on.
    pub fn put(&mut self, service: Service) {
        self.0.put(service);
    }

    /// A Service is gone.
    pub fn delete(&mut self, namespace: &str, name: &str) {
        self.0.delete(namespace, name);
    }

    /// All that has happened is forgotten, and whoever asks for it is told so.
    pub fn forget(&mut self, gone: Gone) {
        self.0.version += 1;
        self.0.oldest = self.0.version;
        self.0.events.clear();
        self.0.gone = gone;
    }
}

/// A Service to be.
#[derive(Debug, Clone)]
pub struct Service(Value);

impl Service {
    /// With one port, 80, and an annotation for a peer that names it.
    pub fn named(namespace: &str, name: &str, routing_name: &str) -> Self {
        Self::bare(namespace, name).annotated("name", routing_name)
    }

    /// Without annotations.
    pub fn bare(namespace: &str, name: &str) -> Self {
        Self(json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": { "example.org/other": "x".repeat(200) },
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": "10.96.0.7",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": "web" }],
            },
            "status": { "loadBalancer": {} },
        }))
    }

    /// With another annotation for a peer.
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][format!("ops-proxy.dev/{key}")] = value.into();
        self
    }

    /// With this port.
    pub fn port(mut self, port: u16) -> Self {
        self.0["spec"]["ports"][0]["port"] = port.into();
        self
    }

    /// Created at another time of the same day.
    pub fn created(mut self, time: &str) -> Self {
        self.0["metadata"]["creationTimestamp"] = format!("2026-01-01T{time}Z").into();
        self
    }
}

impl State {
    fn put(&mut self, Service(mut object): Service) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
        let key = (text("namespace"), text("name"));
        let before = self.services.insert(key.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.events.push((self.version, key.0, json!({ "type": kind, "object": object })));
    }

    fn delete(&mut self, namespace: &str, name: &str) {
        self.version += 1;
        let key = (namespace.to_owned(), name.to_owned());
        let mut object = self.services.remove(&key).expect("it was there");
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push((self.version, key.0, json!({ "type": "DELETED", "object": object })));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, shared).await,
                Some(tls) => {
                    // Whoever does not trust it goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let answer = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&request, &shared)) }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    // A client may leave whenever it likes.
    let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
}

/// An answer as it is made.
struct Parts(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let part = ready!(self.0.poll_recv(cx));
        Poll::Ready(part.map(|part| part.map(Frame::data)))
    }
}

fn whole(status: u16, body: &Value) -> Response<Parts> {
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(Ok(body.to_string().into())).expect("there is room");
    let mut response = Response::new(Parts(receiver));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn status(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "code": code, "message": message })
}

fn answer(request: &Request<Incoming>, shared: &Arc<Shared>) -> Response<Parts> {
    let mut state = shared.lock();
    if let Some(code) = state.failure {
        state.asked.failed += 1;
        return whole(code, &status(code, "this API is told to fail"));
    }
    let shown = request.headers().get("authorization").map(|value| value.to_str().unwrap());
    if let Some(token) = &state.token
        && shown != Some(&format!("Bearer {token}"))
    {
        return whole(401, &status(401, "Unauthorized"));
    }
    let path = request.uri().path().strip_prefix("/api/v1/namespaces/");
    let Some(namespace) = path.and_then(|path| path.strip_suffix("/services")) else {
        return whole(404, &status(404, "the server could not find the requested resource"));
    };
    let query: BTreeMap<&str, &str> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    if query.get("watch") == Some(&"1") {
        let from = query["resourceVersion"].parse().unwrap();
        return watch_from(&mut state, shared.clone(), namespace, from);
    }
    let limit: usize = query["limit"].parse().unwrap();
    // No more than a name: its place in the order.
    let after = query.get("continue").copied();
    match after {
        None => state.asked.lists += 1,
        Some(_) => state.asked.pages += 1,
    }
    let all = state.services.iter().filter(|((of, _), _)| of == namespace);
    let rest =
        all.filter(|((_, name), _)| after.is_none_or(|after| encoded(name).as_str() > after));
    let page: Vec<_> = rest.take(limit + 1).collect();
    let next = (page.len() > limit).then(|| encoded(&page[limit - 1].0.1));
    let items: Vec<&Value> = page.iter().take(limit).map(|(_, object)| *object).collect();
    let list = json!({
        "kind": "ServiceList", "apiVersion": "v1",
        "metadata": { "resourceVersion": state.version.to_string(), "continue": next },
        "items": items,
    });
    whole(200, &list)
}

/// A token that means something to nobody else, and keeps the order.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn watch_from(
    state: &mut State,
    shared: Arc<Shared>,
    namespace: &str,
    from: u64,
) -> Response<Parts> {
    state.asked.watches += 1;
    let too_old = status(410, "too old resource version");
    if from < state.oldest {
        state.asked.gone += 1;
        return match state.gone {
            Gone::Status => whole(410, &too_old),
            Gone::Event => {
                let mut event = json!({ "type": "ERROR", "object": too_old }).to_string();
                event.push('\n');
                let (sender, receiver) = mpsc::channel(1);
                sender.try_send(Ok(event.into())).expect("there is room");
                Response::new(Parts(receiver))
            }
        };
    }
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(tell(shared, namespace.to_owned(), from, state.cuts, sender));
    Response::new(Parts(receiver))
}

/// Tells a watch what happens after `from`, until it is cut.
async fn tell(
    shared: Arc<Shared>,
    namespace: String,
    mut from: u64,
    cuts: u64,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut changes = shared.changes.subscribe();
    loop {
        let (cut, lines) = {
            let state = shared.lock();
            let cut = state.cut.filter(|(number, _)| *number > cuts).map(|(_, cut)| cut);
            let new = state.events.iter().filter(|(version, ..)| *version > from);
            let of_this = new.filter(|(_, of, _)| *of == namespace);
            let mut lines: Vec<String> = of_this.map(|(.., event)| format!("{event}\n")).collect();
            if cut.is_none() {
                from = state.version;
                if !lines.is_empty() {
                    let metadata = json!({ "resourceVersion": from.to_string() });
                    let object = json!({ "kind": "Service", "metadata": metadata });
                    lines.push(format!("{}\n", json!({ "type": "BOOKMARK", "object": object })));
                }
            }
            (cut, lines)
        };
        match cut {
            Some(Cut::Cleanly) => return,
            Some(Cut::Midway) => {
                // The beginning of what would come next is no event.
                let begun = lines.first().map_or("{\"type\":", |line| &line[..line.len() / 2]);
                let _ = sender.send(Ok(begun.to_owned().into())).await;
                let _ = sender.send(Err(io::Error::other("cut"))).await;
                return;
            }
            None => {}
        }
        for part in lines.concat().as_bytes().chunks(CHUNK) {
            if sender.send(Ok(Bytes::copy_from_slice(part))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            biased;
            () = sender.closed() => return,
            Ok(()) = changes.changed() => {}
        }
    }
}
