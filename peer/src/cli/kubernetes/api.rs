//! Asks the Kubernetes API: a request on a connection of its own, and an answer that is read as
//! it comes. Source: "Kubernetes API Concepts", on lists in chunks and on watches.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::cluster::Cluster;
use super::object::Status;
use crate::limits::{KUBERNETES_EVENT_BYTES, KUBERNETES_TIMEOUT, LOG_TEXT_CHARS};
use crate::stream::dial::{DialError, dial};
use crate::stream::net::tokio::TokioNet;
use crate::stream::resolve::Resolver;

/// Why the API was of no use. Says what to do, where that is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// What a watch should have gone on from is too old (410 Gone): list again.
    #[error("the version to go on from is too old")]
    Gone,
    /// Not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The file of the token is not there.
    #[error("the token cannot be read: {0}; mount it again")]
    Token(io::Error),
    /// No TLS with it.
    #[error("no TLS with the API: {0}; is its CA the one in ca.crt, or in KUBECONFIG?")]
    Tls(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// It takes too long.
    #[error("no answer in time")]
    Late,
    /// A watch was over before it told anything.
    #[error("a watch ended as soon as it had begun; look at what is between this peer and the API")]
    EndedAtOnce,
    /// It says too much.
    #[error("an answer is longer than {0} bytes: have fewer annotations")]
    TooLong(usize),
    /// There is more than a peer can serve.
    #[error("more than {0} Services of one namespace have annotations for this peer: use several")]
    TooMany(usize),
    /// It is not what was expected.
    #[error("an answer cannot be read: {0}; is this the API of Kubernetes?")]
    Malformed(String),
    /// It does not know who asks.
    #[error("the token or certificate is not accepted (401): give this peer another one")]
    Unauthorized,
    /// It does not let this peer see the Services.
    #[error("{0} (403): bind a Role that lets this peer get, list and watch services")]
    Forbidden(String),
    /// Anything else that it says.
    #[error("the API says {0} {1}")]
    Status(u16, String),
}

impl From<Status> for ApiError {
    fn from(Status { code, message }: Status) -> Self {
        let message = message.chars().take(LOG_TEXT_CHARS).collect();
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message),
            410 => Self::Gone,
            _ => Self::Status(code, message),
        }
    }
}

/// The API of one cluster.
pub(super) struct Api {
    cluster: Cluster,
    resolver: Resolver<TokioNet>,
}

/// A connection in clear text or within TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What moves the bytes of a connection.
type Driver = Connection<TokioIo<Box<dyn Stream>>, Empty<Bytes>>;

/// An answer whose head was good.
pub(super) struct Answer {
    body: Incoming,
    connection: Pin<Box<Driver>>,
    /// The connection has nothing more to say; what it has said is still to be read.
    is_over: bool,
    /// What has come of the next line.
    line: Vec<u8>,
    /// Of that, so much holds no end of it.
    searched: usize,
}

impl Api {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, resolver: Resolver::new(TokioNet) }
    }

    /// Asks for `path`, with its query.
    ///
    /// # Errors
    /// [`ApiError`], also for each status but 200.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, ApiError> {
        let deadline = Instant::now() + KUBERNETES_TIMEOUT;
        let asked = timeout_at(deadline, self.ask(path)).await;
        let (status, mut answer) = asked.unwrap_or(Err(ApiError::Late))?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let said = timeout_at(deadline, answer.whole(KUBERNETES_EVENT_BYTES)).await;
        let said = said.unwrap_or(Err(ApiError::Late))?;
        let said: Status = serde_json::from_slice(&said).unwrap_or_default();
        Err(Status { code: status.as_u16(), ..said }.into())
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Answer), ApiError> {
        let Cluster { endpoint, prefix, tls, .. } = &self.cluster;
        let stream = dial(&self.resolver, endpoint, KUBERNETES_TIMEOUT).await?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                Box::new(connector.connect(name.clone(), stream).await.map_err(ApiError::Tls)?)
            }
        };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut request = Request::get(format!("{prefix}{path}"))
            .header(HOST, endpoint.to_string())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("ops-proxy/", env!("CARGO_PKG_VERSION")));
        if let Some(value) = self.cluster.authorization().map_err(ApiError::Token)? {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Empty::new());
        // Of what stands in it, only the token is not ours.
        let request = request.map_err(|error| ApiError::Token(io::Error::other(error)))?;
        let mut connection = Box::pin(connection);
        let (mut sent, mut is_over) = (Box::pin(sender.send_request(request)), false);
        let response = loop {
            tokio::select! {
                biased;
                response = &mut sent => break response?,
                _ = &mut connection, if !is_over => is_over = true,
            }
        };
        let status = response.status();
        let body = response.into_body();
        Ok((status, Answer { body, connection, is_over, line: Vec::new(), searched: 0 }))
    }
}

impl Answer {
    /// All of it, read as JSON.
    ///
    /// # Errors
    /// [`ApiError`]; it may have `most` bytes, and must come in time.
    pub(super) async fn read<T: DeserializeOwned>(mut self, most: usize) -> Result<T, ApiError> {
        let deadline = Instant::now() + KUBERNETES_TIMEOUT;
        let whole = timeout_at(deadline, self.whole(most)).await.unwrap_or(Err(ApiError::Late))?;
        serde_json::from_slice(&whole).map_err(|error| ApiError::Malformed(error.to_string()))
    }

    async fn whole(&mut self, most: usize) -> Result<Vec<u8>, ApiError> {
        while let Some(part) = self.part().await? {
            self.line.extend_from_slice(&part);
            if self.line.len() > most {
                return Err(ApiError::TooLong(most));
            }
        }
        Ok(std::mem::take(&mut self.line))
    }

    /// The next line, without its end; none after the last one. Cancel safe.
    ///
    /// # Errors
    /// [`ApiError`]. A line that was cut short is none.
    pub(super) async fn line(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            if let Some(at) = self.line[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.line.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.line, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.line.len();
            if self.searched > KUBERNETES_EVENT_BYTES {
                return Err(ApiError::TooLong(KUBERNETES_EVENT_BYTES));
            }
            match self.part().await? {
                Some(part) => self.line.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }

    /// What comes next; nothing at the end. Cancel safe.
    async fn part(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                _ = &mut self.connection, if !self.is_over => {
                    self.is_over = true;
                    continue;
                }
            };
            match frame.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(part) = frame.into_data() {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }
}
