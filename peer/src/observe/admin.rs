//! What an operator asks a peer over HTTP: `/metrics`, `/healthz`, `/readyz`, and
//! `/`, a status page for humans.

mod scrape;
mod status;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::log_limit::LogSource;
use super::metrics::Incident;
use crate::limits::{
    ACCEPT_BACKOFF, ADMIN_CONNECTIONS, ADMIN_DEADLINE, ADMIN_HEAD_DEADLINE, ADMIN_SCRAPES,
};
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};

use scrape::{Answer, scrape};

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves admin connections until the task is ended. At
/// [`ADMIN_CONNECTIONS`], further ones wait to be accepted.
pub async fn serve<N: Net>(shared: Arc<Shared<N>>, listener: N::Listener) {
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    let scrapes = Arc::new(Semaphore::new(ADMIN_SCRAPES));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(shared.clone(), scrapes.clone(), stream);
                shared.tasks.spawn(async move {
                    if timeout(ADMIN_DEADLINE, connection).await.is_err() {
                        tracing::debug!("an admin client timed out");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                if shared.may_log(LogSource::Anyone, Incident::Accept) {
                    tracing::warn!(%error, "cannot accept admin connections; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// One request, so that a connection has one deadline.
async fn connection<N: Net>(shared: Arc<Shared<N>>, scrapes: Arc<Semaphore>, stream: N::Stream) {
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, scrapes) = (shared.clone(), scrapes.clone());
        async move { Ok::<_, Infallible>(respond(&shared, scrapes, &request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection failed");
    }
}

async fn respond<N: Net>(
    shared: &Shared<N>,
    scrapes: Arc<Semaphore>,
    request: &Request<Incoming>,
) -> Response<Answer> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let permit = scrapes.acquire_owned().await.expect("the semaphore is never closed");
            let text = scrape(shared, permit).await;
            respond_with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/healthz" => answer(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" if shared.is_ready() => answer(StatusCode::OK, PLAIN, "ready\n"),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not ready\n"),
        "/" => answer(StatusCode::OK, "text/html; charset=utf-8", status::page(shared).await),
        _ => answer(StatusCode::NOT_FOUND, PLAIN, "try /, /metrics, /healthz or /readyz\n"),
    }
}

fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Answer> {
    respond_with(status, kind, Answer::whole(body))
}

fn respond_with(status: StatusCode, kind: &str, body: Answer) -> Response<Answer> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .body(body)
        .expect("status and headers are constants and valid")
}
