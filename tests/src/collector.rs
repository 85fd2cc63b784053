//! A collector of OpenTelemetry: takes spans by OTLP over HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::wait::until;

/// What is asked of a collector, as it came.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The path.
    pub path: String,
    /// The header fields.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
}

/// A collector; it ends when it is dropped.
pub struct Collector {
    addr: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Answers all that it is asked with this status.
    pub async fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("it is bound");
        let posted = Arc::new(Mutex::new(Vec::new()));
        let kept = posted.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(TokioIo::new(stream), kept.clone(), status));
            }
        });
        Self { addr, posted, task }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it was asked.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no test panics here").clone()
    }

    /// What `find` finds in that, once it does.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&[Posted]) -> Option<T>) -> T {
        until(what, async || find(&self.posted())).await
    }
}

async fn serve(
    stream: TokioIo<tokio::net::TcpStream>,
    posted: Arc<Mutex<Vec<Posted>>>,
    status: u16,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let posted = posted.clone();
        async move {
            let (head, body) = request.into_parts();
            let fields = head.headers.iter().map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            let (path, fields) = (head.uri.to_string(), fields.collect());
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            posted.lock().expect("no test panics here").push(Posted { path, fields, body });
            let answer = Response::builder().status(status).body(Full::new(Bytes::new()));
            Ok::<_, Infallible>(answer.expect("a status of a test"))
        }
    });
    // A peer that goes ends it.
    let _ = http1::Builder::new().serve_connection(stream, service).await;
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}
