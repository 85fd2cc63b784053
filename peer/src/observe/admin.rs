//! What an operator asks a peer over HTTP: `/metrics`, `/healthz`, `/readyz`, and
//! `/`, a status page for humans.

mod connections;
mod places;
mod scrape;
mod status;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::log_limit::LogSource;
use super::metrics::Incident;
use crate::limits::{self, ACCEPT_BACKOFF, ADMIN_DEADLINE, ADMIN_HEAD_DEADLINE};
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};

use places::{Place, Places, Watched};
use scrape::{Answer, scrape};

const PLAIN: &str = "text/plain; charset=utf-8";

/// Where an operator asks. Every client is let in at once; which one is closed to make
/// room, `connections` decides.
pub struct AdminServer<N: Net> {
    shared: Arc<Shared<N>>,
    listener: N::Listener,
    places: Arc<Places>,
}

impl<N: Net> AdminServer<N> {
    /// One that serves nobody yet.
    pub fn new(shared: Arc<Shared<N>>, listener: N::Listener) -> Self {
        let places = Arc::new(Places::new(shared.metrics.clone()));
        Self { shared, listener, places }
    }

    /// Serves until the task is ended; may be called again afterwards.
    pub async fn serve(self: Arc<Self>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, source)) => {
                    let (place, let_go) = self.places.enter(source.ip());
                    let connection = connection(self.shared.clone(), stream, place);
                    self.shared.tasks.spawn(until_let_go(connection, let_go));
                }
                Err(error) => {
                    if self.shared.may_log(LogSource::Anyone, Incident::Accept) {
                        tracing::warn!(%error, "cannot accept admin connections; retrying");
                    }
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

async fn until_let_go(connection: impl Future<Output = ()>, let_go: oneshot::Receiver<()>) {
    tokio::select! {
        biased;
        _ = let_go => tracing::debug!("an admin client was let go for another"),
        served = timeout(ADMIN_DEADLINE, connection) => if served.is_err() {
            tracing::debug!("an admin client did not take its answer in time");
        },
    }
}

/// One request, so that a connection has one deadline.
async fn connection<N: Net>(shared: Arc<Shared<N>>, stream: N::Stream, place: Place) {
    let place = Arc::new(place);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, place) = (shared.clone(), place.clone());
        async move {
            place.moved();
            Ok::<_, Infallible>(respond(&shared, &place, &request).await)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Watched { stream, place: place.clone() }), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection failed");
    }
}

async fn respond<N: Net>(
    shared: &Shared<N>,
    place: &Arc<Place>,
    request: &Request<Incoming>,
) -> Response<Answer> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match place.scrape().await {
            Some(scraping) => {
                let text = scrape(shared, scraping).await;
                respond_with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            None => busy(),
        },
        "/healthz" => answer(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" if shared.is_ready() => answer(StatusCode::OK, PLAIN, "ready\n"),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not ready\n"),
        "/" => answer(StatusCode::OK, "text/html; charset=utf-8", status::page(shared).await),
        _ => answer(StatusCode::NOT_FOUND, PLAIN, "try /, /metrics, /healthz or /readyz\n"),
    }
}

fn busy() -> Response<Answer> {
    let text = "too many scrapes at a time\n";
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text);
    response.headers_mut().insert(RETRY_AFTER, limits::RETRY_AFTER.as_secs().into());
    response
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
