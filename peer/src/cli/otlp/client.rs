//! A request to the collector, on a connection of its own.

use std::fmt;
use std::io;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::time::timeout;

use crate::config::Endpoint;
use crate::limits::{OTLP_ANSWER_BYTES, OTLP_TIMEOUT};
use crate::stream::dial::dial;
use crate::stream::net::tokio::TokioNet;
use crate::stream::resolve::Resolver;

/// Reaches one collector.
pub(super) struct Client {
    endpoint: Endpoint,
    resolver: Resolver<TokioNet>,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, resolver: Resolver::new(TokioNet) }
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let stream = dial(&self.resolver, &self.endpoint, OTLP_TIMEOUT).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let (mut head, body) = request.into_parts();
        // Asked of the collector itself, not of a proxy before it.
        head.uri = head.uri.path().parse()?;
        head.headers.insert(HOST, HeaderValue::from_str(&self.endpoint.to_string())?);
        let agent = concat!("ops-proxy/", env!("CARGO_PKG_VERSION"));
        head.headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let asked = async {
            let request = Request::from_parts(head, Full::new(body));
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, OTLP_ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let mut connection = std::pin::pin!(connection);
        let mut asked = std::pin::pin!(asked);
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return answer,
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.endpoint)
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        match timeout(OTLP_TIMEOUT, self.ask(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Box::new(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }
}
