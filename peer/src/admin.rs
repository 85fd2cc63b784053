//! What an operator asks a peer over HTTP: `/metrics`, `/healthz`, `/readyz`, and
//! `/`, a status page for humans.

mod status;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::limits::{ACCEPT_BACKOFF, ADMIN_CONNECTIONS, ADMIN_HEAD_DEADLINE};
use crate::net::{Listener, Net};
use crate::shared::Shared;

/// Serves admin connections until the task is ended. At
/// [`ADMIN_CONNECTIONS`], further ones wait to be accepted.
pub async fn serve<N: Net>(shared: Arc<Shared<N>>, listener: N::Listener) {
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(shared.clone(), stream);
                shared.tasks.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection; waiting a moment");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection<N: Net>(shared: Arc<Shared<N>>, stream: N::Stream) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&shared, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection broke");
    }
}

fn respond<N: Net>(shared: &Shared<N>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    if method != Method::GET && method != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD only\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let text = shared.metrics.render(&shared.mesh.snapshot());
            answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/healthz" => answer(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" if shared.is_ready() => answer(StatusCode::OK, PLAIN, "ready\n"),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not ready\n"),
        "/" => answer(StatusCode::OK, "text/html; charset=utf-8", status::page(shared)),
        _ => answer(StatusCode::NOT_FOUND, PLAIN, "try /, /metrics, /healthz or /readyz\n"),
    }
}

fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(body.into()))
        .expect("status and headers are constants and valid")
}
