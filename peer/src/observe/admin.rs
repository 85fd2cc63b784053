//! What an operator asks a peer over HTTP: `/metrics`, `/healthz`, `/readyz`; `/`, a status page
//! for humans, which `/events` keeps up to date; and `/api/v1/`, the same for programs.

mod answers;
mod connections;
mod events;
mod gather;
mod places;
mod scrape;
mod status;
mod summary;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::log_limit::LogSource;
use super::metrics::Incident;
use crate::limits::{
    self, ACCEPT_BACKOFF, ADMIN_DEADLINE, ADMIN_HEAD_DEADLINE, ADMIN_STREAM_DEADLINE,
};
use crate::observe::metrics::Format;
use crate::shared::Shared;
use crate::stream::net::{Listener, Net};

use events::{Shown, tell};
use places::{Place, Places, Watched};
use scrape::{Answer, scrape};

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Where an operator asks. Every client is let in at once; which one is closed to make
/// room, `connections` decides.
pub struct AdminServer<N: Net> {
    shared: Arc<Shared<N>>,
    listener: Arc<N::Listener>,
    places: Arc<Places>,
    shown: Arc<Shown>,
}

impl<N: Net> AdminServer<N> {
    /// One that serves nobody yet, and begins to watch the counters.
    pub fn new(shared: Arc<Shared<N>>, listener: Arc<N::Listener>) -> Self {
        let places = Arc::new(Places::new(shared.metrics.clone()));
        let kept = shared.clone();
        shared.keep("the readings for the status page", move || {
            let kept = kept.clone();
            async move { gather::keep_reading(&kept).await }
        });
        Self { shared, listener, places, shown: Arc::new(Shown::default()) }
    }

    /// Serves until the task is ended, but for while another process does; may be called
    /// again afterwards.
    pub async fn serve(self: Arc<Self>) {
        loop {
            self.shared.accepting.unless_handed_over(self.accept()).await;
        }
    }

    async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, source)) => {
                    let (place, let_go) = self.places.enter(source.ip());
                    let streams = place.streams();
                    let server = (self.shared.clone(), self.shown.clone());
                    let connection = connection(server, stream, place);
                    self.shared.spawn(until_let_go(connection, let_go, streams));
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

async fn until_let_go(
    connection: impl Future<Output = ()>,
    let_go: oneshot::Receiver<()>,
    is_stream: impl Fn() -> bool,
) {
    let mut connection = pin!(connection);
    let in_time = async {
        if timeout(ADMIN_DEADLINE, &mut connection).await.is_ok() {
            return true;
        }
        let left = ADMIN_STREAM_DEADLINE.saturating_sub(ADMIN_DEADLINE);
        is_stream() && timeout(left, connection).await.is_ok()
    };
    tokio::select! {
        biased;
        _ = let_go => tracing::debug!("an admin client was let go for another"),
        in_time = in_time => if !in_time {
            tracing::debug!("an admin client did not take its answer in time");
        },
    }
}

/// One request, so that a connection has one deadline.
async fn connection<N: Net>(server: Server<N>, stream: N::Stream, place: Place) {
    let place = Arc::new(place);
    let service = service_fn(|request: Request<Incoming>| {
        let (server, place) = (server.clone(), place.clone());
        async move {
            place.moved();
            Ok::<_, Infallible>(respond(&server, &place, &request).await)
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

/// The peer, and what the open status pages show.
type Server<N> = (Arc<Shared<N>>, Arc<Shown>);

async fn respond<N: Net>(
    server: &Server<N>,
    place: &Arc<Place>,
    request: &Request<Incoming>,
) -> Response<Answer> {
    let (shared, _) = server;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match place.scrape().await {
            Some(scraping) => {
                let accept = request.headers().get_all(ACCEPT).iter();
                let accept: Vec<&str> = accept.filter_map(|field| field.to_str().ok()).collect();
                let format = Format::accepted(&accept.join(","));
                let text = scrape(shared, format, scraping).await;
                respond_with(StatusCode::OK, format.content_type(), text)
            }
            None => busy(),
        },
        "/healthz" => answer(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" if shared.is_ready() => answer(StatusCode::OK, PLAIN, "ready\n"),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not ready\n"),
        "/" => status_page(shared).await,
        "/events" => events(server, place),
        path => match path.strip_prefix("/api/v1/") {
            Some(path) => {
                let query = request.uri().query().unwrap_or_default();
                let (status, json) = answers::answer(shared, path, query).await;
                answer(status, JSON, json)
            }
            None => {
                let there = "try /, /api/v1/peer, /metrics, /healthz or /readyz\n";
                answer(StatusCode::NOT_FOUND, PLAIN, there)
            }
        },
    }
}

async fn status_page<N: Net>(shared: &Shared<N>) -> Response<Answer> {
    let page = status::page(&status::parts(shared).await);
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy = HeaderValue::from_str(&status::POLICY).expect("base64 is legal in a field");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Keeps a status page up to date, unless its source has as many open as it may.
fn events<N: Net>(server: &Server<N>, place: &Arc<Place>) -> Response<Answer> {
    if !place.stream() {
        let text = "too many status pages of this source are open; close some\n";
        return answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text);
    }
    let (shared, shown) = server;
    let (page, pieces) = mpsc::channel(1);
    shared.spawn(tell(shared.clone(), shown.clone(), page));
    respond_with(StatusCode::OK, "text/event-stream", Answer::Events(pieces))
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
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body)
        .expect("status and headers are constants and valid")
}
